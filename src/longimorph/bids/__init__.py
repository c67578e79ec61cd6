"""Create a cohort table from files named according to BIDS, the Brain Imaging Data Structure."""
