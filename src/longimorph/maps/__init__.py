"""Segmentations as probability maps, and the part of the brain visible at both visits."""
