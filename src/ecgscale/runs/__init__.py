"""What every run does alike: its record, its MLflow run, its continuation, where it comes from."""
