"""BIDS, the Brain Imaging Data Structure: a cohort table from its files, results in its form."""
