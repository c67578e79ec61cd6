"""Interruption and resumption of a registration: its state on disk."""
