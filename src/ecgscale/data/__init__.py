"""ECG data: records, sources, the store, subsets and views of a batch."""
