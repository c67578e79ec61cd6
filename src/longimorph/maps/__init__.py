"""Segmentations as probability maps, and the part of the brain that two visits both show."""
