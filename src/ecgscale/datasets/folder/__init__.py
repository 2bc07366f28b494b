"""Your own folder, described by its source.yaml."""
