"""Rigid alignment of all visits of one patient to a common reference."""
