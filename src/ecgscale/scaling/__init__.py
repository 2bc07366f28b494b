"""The statistics of scale: from run records to correlations with their uncertainty."""
