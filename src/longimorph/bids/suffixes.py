"""Suffixes of anatomical scans in BIDS."""

from __future__ import annotations

SUFFIXES = (
    "T1w", "T2w", "FLAIR", "PDw", "PDT2", "T2starw", "inplaneT1", "inplaneT2", "UNIT1", "angio", "T1map",
    "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat", "MWFmap", "Chimap",
)  # fmt: skip
