"""Measurements that anyone can repeat: one script per make target, run from the repository."""
