"""The statistics of scale: from run records to correlations with their uncertainty.

`collect` makes one flat table of the runs, `groups` lays them out in blocks, and the rest reads
groups: `ranks` and `variance` hold the methods, `correlate`, `compare` and `laws` apply them,
`claims` says what the pre-declared tests allow. No module here writes a sentence.
"""
