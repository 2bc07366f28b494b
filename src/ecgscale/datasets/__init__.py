"""One folder a data set: its reader, its tasks, its simulated layout and its label tables."""
