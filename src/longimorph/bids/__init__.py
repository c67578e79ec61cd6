"""A cohort table from a tree of files named after BIDS, the Brain Imaging Data Structure."""
