"""Any folder of WFDB records."""
