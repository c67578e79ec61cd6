"""A small registration whose results are stored. Run this file to store them anew:

    python tests/golden/pair.py

and say in the commit why they changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_problems import ball_maps, settings

from longimorph.numerics.register import Registration, register

STORED = Path(__file__).with_name("pair.npz")
SHAPE, SPACING = (12, 11, 10), (1.5, 1.5, 1.6)
CONTROL = torch.tensor(
    [[0.999, 0.999, 0.001], [0.999, 0.999, 0.001], [0.001, 0.001, 0.999]], dtype=torch.float64
)


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    """A ball that grows and moves a little, and a small one that appears beside it: float64."""
    source = ball_maps(SHAPE, SPACING, [((6.0, 8.0, 7.5), 3.5), ((13.0, 8.0, 7.5), -4.0)])
    target = ball_maps(SHAPE, SPACING, [((6.5, 8.2, 7.5), 4.3), ((13.0, 8.0, 7.5), 2.0)])
    return source, target


def computed() -> dict[str, np.ndarray]:
    """The results that are stored, by name."""
    source, target = maps()
    chosen = settings(kernel_mm=(3.0, 5.0), amplitude_mm=4.0, steps=8, max_evaluations=12, tolerance=1e-6)
    return described(register(source, target, CONTROL, SPACING, chosen))


def described(found: Registration) -> dict[str, np.ndarray]:
    """Volumes in mm3, flows, the middle plane of maps, and figures of health."""
    parts, volume = found.attribution, float(np.prod(SPACING))
    totals = {
        "deformation_mm3": parts.deformation.flatten(1).sum(1) * volume,
        "reallocation_mm3": parts.reallocation.flatten(1).sum(1) * volume,
        "deformation_flows_mm3": parts.deformation_flows,
        "reallocation_flows_mm3": parts.reallocation_flows,
    }
    middle = SHAPE[2] // 2
    planes = {
        "momentum": found.momentum[..., middle],
        "deformation": parts.deformation[..., middle],
        "reallocation": parts.reallocation[..., middle],
        "final": parts.final.q.square()[..., middle],
        "forward_mm": found.warps.forward[..., middle],
        "inverse_mm": found.warps.inverse[..., middle],
        "log_jacobian": found.warps.log_jacobian[..., middle],
    }
    figures = torch.tensor(
        [found.mismatch_before, found.mismatch_after, found.energy, found.drift], dtype=torch.float64
    )
    everything = totals | planes | {"mismatch_before_after_energy_drift": figures}
    return {name: values.numpy() for name, values in everything.items()}


if __name__ == "__main__":
    np.savez_compressed(STORED, **computed())  # type: ignore[arg-type]
