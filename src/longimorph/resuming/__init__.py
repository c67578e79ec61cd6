"""A registration that is interrupted and goes on later: its state on the disk."""
