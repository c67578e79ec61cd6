"""How the equations are walked over a volume: row by row in machine code, or slab by slab with torch.

A processor takes the fused loops of :mod:`longimorph.numerics.fused`, anything else the formulas of
:mod:`longimorph.numerics.equations`, on slabs thin enough that what a formula needs for itself is small
beside one map. The results differ by rounding alone. Nothing here records a graph.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from longimorph.numerics import equations

LOGGER = logging.getLogger(__name__)

SLAB_BYTES = {"cpu": 1 << 20, "cuda": 32 << 20}
"""Bytes of a map that a slab holds at least, by type of device: what fits a processor's cache, and what keeps
a card busy for longer than the launch of a formula's next operation takes."""
FEWEST_PLANES = 2
THINNEST_SHARE = 16
FUSED_LOOPS = True
"""Whether a processor takes the fused loops, where they can be imported."""

Formula = Callable[..., Tensor | tuple[Tensor, ...]]


def slab_bytes(device: str) -> int:
    """SLAB_BYTES of a type of device; what is no processor is walked like a card."""
    return SLAB_BYTES["cpu" if device == "cpu" else "cuda"]


def slabs(like: Tensor) -> Iterator[tuple[int, int]]:
    """Begin and end of the slabs that a map (C, x, ...) is walked in, along its first grid axis."""
    planes, size = like.shape[1], like[:, :1].numel() * like.element_size()
    most = max(FEWEST_PLANES, -(-planes // THINNEST_SHARE), slab_bytes(like.device.type) // size)
    for start in range(0, planes, most):
        yield start, min(start + most, planes)


def with_halo(start: int, stop: int, *arrays: Any) -> tuple[list[Any], slice]:
    """Planes ``start`` to ``stop`` of each tensor and one more on each side, and where the first ones are.

    Whatever is not a field of the grid (a number, 1 / (2 h) per axis) is handed on as it is.
    """
    planes = max(a.shape[1] for a in arrays if isinstance(a, Tensor))
    low, high = max(start - 1, 0), min(stop + 1, planes)
    cut = [a[:, low:high] if isinstance(a, Tensor) and a.shape[1] == planes else a for a in arrays]
    return cut, slice(start - low, stop - low)


def _walk(formula: Formula, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    fields = [a for a in (*inputs, *outputs) if isinstance(a, Tensor)]
    for start, stop in slabs(max(fields, key=Tensor.numel)):
        cut, inside = with_halo(start, stop, *inputs)
        found = formula(*cut)
        for out, part in zip(outputs, found if isinstance(found, tuple) else (found,), strict=True):
            out[:, start:stop] = part[:, inside]
        del found, part


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Threads for the fused loops; like the caller's, they take denormal numbers for zero."""
    return ThreadPoolExecutor(initializer=lambda: torch.set_flush_denormal(True))


@functools.cache
def _fused_loops() -> ModuleType | None:
    """The module of fused loops; None where numba cannot be imported, for instance beside a newer numpy."""
    try:
        from longimorph.numerics import fused  # slow to import, and a graphics card needs none of it
    except Exception as error:  # whatever a broken installation raises
        LOGGER.warning("numba cannot be used, the processor takes several times longer: %s", error)
        return None
    return fused


def _fused(name: str, inputs: Sequence[Any], outputs: Sequence[Tensor], u: Tensor) -> None:
    kernel, number = getattr(_fused_loops(), name), u.numpy().dtype.type

    def argument(value: Any) -> Any:
        if value is u:
            return u.numpy().reshape(-1)
        return value.flatten(2).numpy() if isinstance(value, Tensor) else number(value)

    arguments = [argument(value) for value in (*inputs, *outputs)]
    planes, row, threads = outputs[0].shape[1], outputs[0].shape[3], torch.get_num_threads()
    pieces = pairwise(planes * k // threads for k in range(threads + 1))
    list(_pool().map(lambda piece: kernel(*arguments, row, *piece), pieces))


def _can_fuse(u: Tensor, fields: Sequence[Tensor]) -> bool:
    if not FUSED_LOOPS or u.device.type != "cpu":
        return False
    return all(a.ndim == 4 and a.is_contiguous() for a in fields) and _fused_loops() is not None


def _run(name: str, inputs: Sequence[Any], outputs: Sequence[Tensor], u: Tensor) -> None:
    """Fill ``outputs`` with what the formula of this name makes of the inputs."""
    fields = [a for a in (*inputs, *outputs) if isinstance(a, Tensor) and a is not u]
    if _can_fuse(u, fields):
        _fused(name, inputs, outputs, u)
    else:
        _walk(getattr(equations, name), inputs, outputs)


def _field(like: Tensor, channels: int) -> Tensor:
    return like.new_empty(channels, *like.shape[1:])


def density(q: Tensor, p: Tensor, alloc: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """rho (1, *grid) and alpha m (d, *grid): see ``equations.density``."""
    outputs = _field(q, 1), _field(q, len(u))
    _run("density", (q, p, alloc, u), outputs, u)
    return outputs


def metric(q: Tensor, alloc: Tensor, u: Tensor) -> Tensor:
    """A symmetric matrix per voxel, (d (d + 1) / 2, *grid): see ``equations.metric``."""
    out = _field(q, len(u) * (len(u) + 1) // 2)
    _run("metric", (q, alloc, u), (out,), u)
    return out


def rate(q: Tensor, p: Tensor, rho: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """dq/dt (C, *grid): see ``equations.rate``."""
    out = torch.empty_like(q)
    _run("rate", (q, p, rho, v, u), (out,), u)
    return out


def advance(
    base: tuple[Tensor, Tensor],
    state: tuple[Tensor, Tensor],
    alloc: Tensor,
    drive: tuple[Tensor, Tensor, Tensor],
    u: Tensor,
    duration: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, p, and the length and part along q that settling took off: see ``equations.advance``."""
    q = state[0]
    outputs = torch.empty_like(q), torch.empty_like(q), _field(q, 1), _field(q, 1)
    _run("advance", (*base, *state, alloc, *drive, u, duration), outputs, u)
    return outputs


def direction(
    state: tuple[Tensor, Tensor], cotangent: tuple[Tensor, Tensor], factor: float, u: Tensor
) -> tuple[Tensor, Tensor]:
    """Two fields (1, *grid) of the direction that belongs to a cotangent: see ``equations.direction``."""
    outputs = _field(state[0], 1), _field(state[0], 1)
    _run("direction", (*state, *cotangent, factor), outputs, u)
    return outputs


def density_change(*inputs: Any) -> tuple[Tensor, Tensor]:
    """Changes of rho (1, *grid) and alpha m (d, *grid): arguments of ``equations.density_change``."""
    q, u = inputs[0], inputs[-1]
    outputs = _field(q, 1), _field(q, len(u))
    _run("density_change", inputs, outputs, u)
    return outputs


def pull_back(*inputs: Any) -> tuple[Tensor, Tensor]:
    """Cotangent of a state, (C, *grid) twice: arguments of ``equations.pull_back``."""
    q, u = inputs[0], inputs[-1]
    outputs = torch.empty_like(q), torch.empty_like(q)
    _run("pull_back", inputs, outputs, u)
    return outputs


def unsettle(
    state: tuple[Tensor, Tensor],
    length: Tensor,
    along: Tensor,
    cotangent: tuple[Tensor, Tensor],
    u: Tensor,
) -> None:
    """Adjoint of settling, written over the cotangent: see ``equations.unsettle``."""
    if _can_fuse(u, (*state, *cotangent)):
        _fused("unsettle", (*state, length, along), cotangent, u)
    else:
        _walk(equations.unsettle, (*state, length, along, *cotangent), cotangent)
