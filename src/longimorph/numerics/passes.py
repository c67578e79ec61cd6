"""Traversal of a volume by the equations: in machine code, or slab by slab with torch.

A CPU uses the fused loops of :mod:`longimorph.numerics.fused`, a GPU the kernels of
:mod:`longimorph.numerics.triton_passes`. Where these cannot be used, the formulas of
:mod:`longimorph.numerics.equations` do the same, on slabs thin enough that the temporaries of a formula are
small compared with one map. The results differ only by rounding. Nothing here records a graph.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longimorph.footprint import CARD_SLAB_BYTES, FEWEST_PLANES, THINNEST_SHARE
from longimorph.numerics import equations, pair_equations
from longimorph.numerics.blocks import new_field
from longimorph.numerics.control import Allocation, Control, Exchange, Matrix
from longimorph.numerics.states import Direction, Ending, Intermediates, Renormalisation, State

LOGGER = logging.getLogger(__name__)

SLAB_BYTES = {"cpu": 1 << 20, "cuda": CARD_SLAB_BYTES}
"""Minimum bytes of a map in a slab, by type of device: enough to fit a CPU's cache, and enough to keep a GPU
busy for longer than the launch of a formula's next operation takes.
"""
FUSED_LOOPS = True
"""Whether a CPU uses the fused loops, where they can be imported."""
KERNEL_DEVICES: tuple[str, ...] = ("cuda",)
"""Types of device that use the Triton kernels, where Triton works."""

Formula = Callable[..., Tensor | tuple[Tensor, ...]]
Listener = Callable[["Pass", Sequence[Any], Sequence[Tensor]], None]
"""Called before a pass runs, with the pass, its inputs, and its outputs, whose values are not yet set."""
_LISTENERS: list[Listener] = []


class Pass(Enum):
    """The passes over a volume, named after their formula and their fused loop."""

    DENSITY = "density"
    METRIC = "metric"
    RATE = "rate"
    ADVANCE = "advance"
    DIRECTION = "direction"
    DENSITY_CHANGE = "density_change"
    PULL_BACK = "pull_back"
    UNSETTLE = "unsettle"
    MOMENTUM = "momentum"
    MOMENTUM_CHANGE = "momentum_change"
    CARRY = "carry"
    CARRY_BACK = "carry_back"
    TURN = "turn"
    TURN_BACK = "turn_back"
    PAIR_METRIC = "pair_metric"
    PAIR_RATE = "pair_rate"
    UNEXCHANGE = "unexchange"


FORMULAS: Mapping[Pass, Formula] = {
    Pass.DENSITY: equations.density,
    Pass.METRIC: equations.metric,
    Pass.RATE: equations.rate,
    Pass.ADVANCE: equations.advance,
    Pass.DIRECTION: equations.direction,
    Pass.DENSITY_CHANGE: equations.density_change,
    Pass.PULL_BACK: equations.pull_back,
    Pass.UNSETTLE: equations.unsettle,
    Pass.MOMENTUM: pair_equations.momentum,
    Pass.MOMENTUM_CHANGE: pair_equations.momentum_change,
    Pass.CARRY: pair_equations.carry,
    Pass.CARRY_BACK: pair_equations.carry_back,
    Pass.TURN: pair_equations.turn,
    Pass.TURN_BACK: pair_equations.turn_back,
    Pass.PAIR_METRIC: pair_equations.pair_metric,
    Pass.PAIR_RATE: pair_equations.pair_rate,
    Pass.UNEXCHANGE: pair_equations.unexchange,
}


class PerAxis(NamedTuple):
    """1 / (2 h) per axis, (d, 1, ...): not a field on the grid, so it is not cut into slabs."""

    factors: Tensor


def slab_bytes(device: str) -> int:
    """SLAB_BYTES of a type of device; any device other than a CPU is treated like a GPU."""
    return SLAB_BYTES["cpu" if device == "cpu" else "cuda"]


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call ``listener`` before each pass within this context."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


@contextmanager
def slabs_of(size: int, device: str = "cpu") -> Iterator[None]:
    """Set the minimum bytes of a map in a slab on this type of device within this context."""
    usual = SLAB_BYTES[device]
    SLAB_BYTES[device] = size
    try:
        yield
    finally:
        SLAB_BYTES[device] = usual


def slabs(like: Tensor) -> Iterator[tuple[int, int]]:
    """Yield start and end of the slabs in which a map (C, x, ...) is traversed along its first grid axis."""
    planes, size = like.shape[1], like[:, :1].numel() * like.element_size()
    most = max(FEWEST_PLANES, -(-planes // THINNEST_SHARE), slab_bytes(like.device.type) // size)
    for start in range(0, planes, most):
        yield start, min(start + most, planes)


def tensors_in(value: Any) -> list[Tensor]:
    """Return the fields of a pass's argument, a tensor or nested tuples, in order; skip numbers."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple) and not isinstance(value, PerAxis | Matrix):
        return [tensor for one in value for tensor in tensors_in(one)]
    return []


def with_halo(start: int, stop: int, *arguments: Any) -> tuple[list[Any], slice]:
    """Cut planes ``start`` to ``stop`` of each field with one more on each side; return also where ``start``
    lies.

    Tuples of fields keep their type. Numbers are passed through; 1 / (2 h) becomes the tensor that a formula
    takes.
    """
    planes = tensors_in(arguments)[0].shape[1]
    low, high = max(start - 1, 0), min(stop + 1, planes)

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[:, low:high]
        if isinstance(value, PerAxis):
            return value.factors
        if isinstance(value, Matrix):
            return value
        return type(value)(*map(cut, value)) if isinstance(value, tuple) else value

    return [cut(value) for value in arguments], slice(start - low, stop - low)


def _walk(formula: Formula, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    for start, stop in slabs(max(tensors_in((*inputs, *outputs)), key=Tensor.numel)):
        cut, inside = with_halo(start, stop, *inputs)
        found = formula(*cut)
        for out, part in zip(outputs, found if isinstance(found, tuple) else (found,), strict=True):
            out[:, start:stop] = part[:, inside]
        del found, part, cut


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Threads for the fused loops; like the calling thread, they flush denormal numbers to zero."""
    return ThreadPoolExecutor(initializer=lambda: torch.set_flush_denormal(True))


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads


@functools.cache
def _fused_loops() -> ModuleType | None:
    """Return the module of fused loops; None where numba cannot be imported, e.g. with a newer numpy."""
    try:
        from longimorph.numerics import fused  # slow to import, and not needed on a GPU
    except Exception as error:  # whatever a broken installation raises
        LOGGER.warning("numba is not usable, so the CPU takes several times longer: %s", error)
        return None
    return fused


@functools.cache
def _triton_kernels() -> ModuleType | None:
    """Return the module of Triton kernels; None where Triton is absent, or fails on this machine."""
    try:
        from longimorph.numerics import triton_passes  # needs Triton, which is not installed everywhere

        triton_passes.run_once(KERNEL_DEVICES[0])
    except Exception as error:  # whatever a missing compiler, an old GPU or a broken installation raises
        LOGGER.warning("Triton is not usable, so the GPU takes several times longer: %s", error)
        return None
    return triton_passes


def _numbers(value: Any, kind: type) -> list[Any]:
    """Convert an argument of a pass for a fused loop: arrays (K, x, y z), and numbers of one type."""
    if isinstance(value, Tensor):
        return [value.flatten(2).numpy()]
    if isinstance(value, PerAxis):
        return [value.factors.numpy().reshape(-1)]
    if isinstance(value, Matrix):
        return [value.entries.numpy()]
    return [x for one in value for x in _numbers(one, kind)] if isinstance(value, tuple) else [kind(value)]


def _once(inputs: Sequence[Any], outputs: Sequence[Tensor]) -> tuple[Any, ...]:
    """The inputs, then the outputs; what is overwritten appears once."""
    written = {id(tensor) for tensor in outputs}
    return *(one for one in inputs if not any(id(a) in written for a in tensors_in(one))), *outputs


def _fused(which: Pass, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    loops = _fused_loops()
    assert loops is not None
    kernel: Callable[..., None] = loops.LOOPS[which.value]
    arguments = _numbers(_once(inputs, outputs), outputs[0].numpy().dtype.type)
    planes, row = outputs[0].shape[1], outputs[0].shape[3]
    in_parts(lambda part: kernel(*arguments, row, *part), planes)


def _leaves(value: Any) -> list[Any]:
    """The tensors and numbers in an argument of a pass, in order."""
    return [x for one in value for x in _leaves(one)] if isinstance(value, tuple) else [value]


def filtered(field: Tensor, taps: Sequence[Tensor]) -> Tensor:
    """Filter (d, i, j, k) on a CPU by one band per axis, (reach + 1,) each, zero outside the grid."""
    from longimorph.numerics import convolution  # needs numba

    out = new_field(field)
    one, found, (first, second, third) = field.flatten(2).numpy(), out.flatten(2), [t.numpy() for t in taps]
    blocks = len(one) * -(-one.shape[2] // convolution.COLUMNS)
    in_parts(lambda part: convolution.along_first(one, first, found.numpy(), *part), blocks)
    planes = out.flatten(0, 1).numpy()
    in_parts(lambda part: convolution.along_others(planes, second, third, *part), len(planes))
    return out


def filtered_on_gpu(field: Tensor, taps: Sequence[Tensor]) -> Tensor:
    """Filter (d, i, j, k) along the first axes of its grid by a band each, (reach + 1,), zero outside it."""
    from longimorph.numerics import triton_convolution  # needs Triton

    for axis, band in enumerate(taps):
        field = triton_convolution.filtered(field, band, axis)
    return field


def in_parts(work: Callable[[tuple[int, int]], None], size: int) -> None:
    """Divide ``size`` equal pieces of work among the threads; the calling thread does what a single one has
    to do.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        work((0, size))
        return
    list(_pool().map(work, pairwise(size * k // threads for k in range(threads + 1))))


def can_fuse(fields: Sequence[Tensor]) -> bool:
    """Whether the loops for a CPU can process these fields."""
    if not FUSED_LOOPS or fields[0].device.type != "cpu":
        return False
    return all(a.ndim == 4 and a.is_contiguous() for a in fields) and _fused_loops() is not None


def kernels_for(fields: Sequence[Tensor]) -> ModuleType | None:
    """The module of Triton kernels if these can process such fields, else None."""
    first = fields[0]
    if first.device.type not in KERNEL_DEVICES or first.dtype not in (torch.float32, torch.float64):
        return None
    if not all(a.ndim == 4 and a.is_contiguous() and a.shape[1:].numel() < 2**31 for a in fields):
        return None
    return _triton_kernels()


def _run(which: Pass, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    """Fill ``outputs`` with the result of a pass's formula on the inputs."""
    for listener in _LISTENERS:
        listener(which, inputs, outputs)
    fields = tensors_in((*inputs, *outputs))
    if can_fuse(fields):
        _fused(which, inputs, outputs)
    elif (kernels := kernels_for(fields)) is not None and which.value in kernels.KERNELS:
        kernels.run(which.value, _leaves(_once(inputs, outputs)), fields[0])
    else:
        _walk(FORMULAS[which], inputs, outputs)


def density(q: Tensor, p: Tensor, control: Control, u: Tensor) -> tuple[Tensor, Tensor]:
    """rho (1, *grid; no channel with prices per pair) and alpha m (d, *grid): see ``equations.density``."""
    if isinstance(control, Exchange):
        out = new_field(q, len(u))
        _run(Pass.MOMENTUM, (q, p, PerAxis(u)), (out,))
        return new_field(q, 0), out
    outputs = new_field(q, 1), new_field(q, len(u))
    _run(Pass.DENSITY, (q, p, control.shares, PerAxis(u)), outputs)
    return outputs


def metric(q: Tensor, control: Allocation, u: Tensor) -> Tensor:
    """A symmetric matrix per voxel, (d (d + 1) / 2, *grid): see ``equations.metric``."""
    out = new_field(q, len(u) * (len(u) + 1) // 2)
    _run(Pass.METRIC, (q, control.shares, PerAxis(u)), (out,))
    return out


def pair_metric(q: Tensor, exchange: Exchange, shift: float, u: Tensor) -> Tensor:
    """A symmetric matrix per voxel, (d (d + 1) / 2, *grid): see ``pair_equations.pair_metric``."""
    out = new_field(q, len(u) * (len(u) + 1) // 2)
    _run(Pass.PAIR_METRIC, (q, exchange, shift, PerAxis(u)), (out,))
    return out


def unexchange(q: Tensor, exchange: Exchange, shift: float, b: Tensor) -> Tensor:
    """A regularised inverse of the exchange, (C, *grid): see ``pair_equations.unexchange``."""
    out = new_field(q)
    _run(Pass.UNEXCHANGE, (q, exchange, shift, b), (out,))
    return out


def rate(q: Tensor, p: Tensor, control: Control, rho: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """dq/dt (C, *grid): see ``equations.rate``."""
    out = new_field(q)
    if isinstance(control, Exchange):
        _run(Pass.PAIR_RATE, (q, p, control, v, PerAxis(u)), (out,))
    else:
        _run(Pass.RATE, (q, p, rho, v, PerAxis(u)), (out,))
    return out


def advance(
    base: State, at: State, control: Control, drive: Intermediates, u: Tensor, duration: float
) -> tuple[State, Renormalisation]:
    """The state after a duration, and the renormalisation: see ``equations.advance``."""
    after = State(new_field(at.q), new_field(at.q))
    settling = Renormalisation(new_field(at.q, 1), new_field(at.q, 1))
    if isinstance(control, Exchange):
        _run(Pass.CARRY, (base, at, drive.v, PerAxis(u), duration), (*after, *settling))
    else:
        _run(Pass.ADVANCE, (base, at, control.shares, drive, PerAxis(u), duration), (*after, *settling))
    return after, settling


def density_change(
    state: State, cotangent: State, factor: float, control: Control, rho: Tensor, am: Tensor, u: Tensor
) -> tuple[Direction, Tensor, Tensor]:
    """The direction that belongs to a cotangent, and the changes of rho (1, *grid; no channel with prices per
    pair) and alpha m (d, *grid) along it: see ``equations.density_change``.
    """
    normal, lift, dam = new_field(state.q, 1), new_field(state.q, 1), new_field(state.q, len(u))
    direction = Direction(cotangent, factor, normal, lift)
    if isinstance(control, Exchange):
        _run(Pass.DIRECTION, (state, cotangent, factor), (normal, lift))
        _run(Pass.MOMENTUM_CHANGE, (state, direction, PerAxis(u)), (dam,))
        return direction, new_field(state.q, 0), dam
    drho = new_field(state.q, 1)
    given = state, cotangent, factor, control.shares, rho, am, PerAxis(u)
    _run(Pass.DENSITY_CHANGE, given, (normal, lift, drho, dam))
    return direction, drho, dam


def pull_back(
    state: State,
    direction: Direction,
    control: Control,
    drive: Intermediates,
    changes: Intermediates,
    u: Tensor,
    total: State | None = None,
    settling: Renormalisation | None = None,
) -> State:
    """Cotangent of a state, (C, *grid) twice: see ``equations.pull_back``.

    With a ``total``, this and the cotangent in ``direction`` are added to it in place. With ``settling``, the
    renormalisation to the state, it is the cotangent before that. Only one of the two may be given.
    """
    if total is not None and settling is not None:
        raise ValueError("a cotangent is either added to a total or pulled back through a renormalisation")
    outputs = total or State(new_field(state.q), new_field(state.q))
    none = Renormalisation(new_field(state.q, 0), new_field(state.q, 0))
    ending = Ending(float(total is not None), float(settling is not None), settling or none)
    last = PerAxis(u), ending, *(total or ())
    if isinstance(control, Exchange):
        _run(Pass.CARRY_BACK, (state, direction, drive.v, changes.v, *last), outputs)
    else:
        _run(Pass.PULL_BACK, (state, direction, control.shares, drive, changes, *last), outputs)
    return outputs


def unsettle(state: State, settling: Renormalisation, cotangent: State) -> None:
    """Adjoint of the renormalisation, overwriting the cotangent: see ``equations.unsettle``."""
    _run(Pass.UNSETTLE, (state, settling, cotangent), cotangent)


def turn(state: State, exchange: Exchange, duration: float, reverse: bool) -> None:
    """Reallocation alone for a duration, overwriting the state: see ``pair_equations.turn``."""
    _run(Pass.TURN, (state, exchange, duration, reverse), state)


def turn_back(state: State, cotangent: State, exchange: Exchange, duration: float, reverse: bool) -> None:
    """Undo ``turn``, overwriting the state and the cotangent: see ``pair_equations.turn_back``."""
    _run(Pass.TURN_BACK, (state, cotangent, exchange, duration, reverse), (*state, *cotangent))
