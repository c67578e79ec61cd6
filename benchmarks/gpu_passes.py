"""Every pass over a volume and the convolutions at full size, compared with the limit of memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_card import by_kernels, by_the_formulas, is_card, milliseconds
from benchmarks.gpu_headline import copy_speed
from benchmarks.gpu_problems import DEFAULTS, posed, random_pair, smooth
from benchmarks.gpu_record import Section
from benchmarks.gpu_sizes import CardSizes, cross
from benchmarks.traffic import counted
from longimorph.numerics import kernels, passes
from longimorph.numerics.control import Allocation
from longimorph.numerics.dynamics import System
from longimorph.numerics.sphere import tangent
from longimorph.numerics.states import Direction, Ending, Intermediates, Renormalisation, State

CALLS = 3
DURATION = 0.1


@dataclass(frozen=True)
class Fields:
    """Everything that a pass may ask for, at one shape and of one type, on one device.

    Maps are (C, *grid), ``drho``, ``rho``, ``length``, ``along``, ``normal`` and ``lift`` (1, *grid), and
    ``am``, ``v``, ``dam``, ``dv`` (d, *grid); ``u`` is 1 / (2 h) per axis.
    """

    q: Tensor
    p: Tensor
    base_q: Tensor
    base_p: Tensor
    cot_q: Tensor
    cot_p: Tensor
    alloc: Tensor
    rho: Tensor
    am: Tensor
    v: Tensor
    length: Tensor
    along: Tensor
    normal: Tensor
    lift: Tensor
    drho: Tensor
    dam: Tensor
    dv: Tensor
    u: Tensor

    def to(self, device: torch.device, kind: torch.dtype) -> Fields:
        """The same fields on another device or of another type."""
        return Fields(**{name: value.to(device, kind) for name, value in vars(self).items()})


def fields_of(state: State, base: State, cotangent: State, system: System) -> Fields:
    """The fields that come up around a state; what only an adjoint asks for is made from its cotangent."""
    control, u = system.control, system.per_mm
    assert isinstance(control, Allocation)
    rho, am = passes.density(*state, control, u)
    drive = Intermediates(rho, am, system.velocity(am))
    _, settling = passes.advance(base, state, control, drive, u, DURATION)
    direction, drho, dam = passes.density_change(state, cotangent, DURATION, control, rho, am, u)
    rest = (*settling, direction.normal, direction.lift, drho, dam, system.velocity(dam), u)
    return Fields(*state, *base, *cotangent, control.shares, *drive, *rest)


NAMES = ("density", "metric", "rate", "advance", "density_change", "pull_back", "unsettle")
"""The passes of one rho per voxel; those of prices per pair are not timed yet."""


def _arguments(name: str, f: Fields) -> tuple[Any, ...]:
    """The arguments of a pass, by its name."""
    state, base, cotangent = State(f.q, f.p), State(f.base_q, f.base_p), State(f.cot_q, f.cot_p)
    direction = Direction(cotangent, DURATION, f.normal, f.lift)
    drive, changes = Intermediates(f.rho, f.am, f.v), Intermediates(f.drho, f.dam, f.dv)
    settling = Renormalisation(f.length, f.along)
    arguments: dict[str, tuple[Any, ...]] = {
        "density": (*state, f.alloc, f.u),
        "metric": (f.q, f.alloc, f.u),
        "rate": (*state, f.rho, f.v, f.u),
        "advance": (base, state, f.alloc, drive, f.u, DURATION),
        "density_change": (state, cotangent, DURATION, f.alloc, f.rho, f.am, f.u),
        "pull_back": (state, direction, f.alloc, drive, changes, f.u, None, settling),
        "unsettle": (state, settling, cotangent),
    }
    return arguments[name]


def by_formula(name: str, f: Fields) -> tuple[Tensor, ...]:
    """The result of the formula on the whole fields."""
    given = _arguments(name, f)
    if name == "pull_back":
        given = *given[:-2], Ending(0.0, 1.0, given[-1])
    return tuple(passes.tensors_in(passes.FORMULAS[passes.Pass(name)](*given)))


def by_pass(name: str, f: Fields) -> tuple[Tensor, ...]:
    """The result of the pass on the fields; ``unsettle`` overwrites the cotangent."""
    given = [Allocation(one) if one is f.alloc else one for one in _arguments(name, f)]
    if name == "rate":  # which takes its form from the control
        given.insert(2, Allocation(f.alloc))
    found = getattr(passes, name)(*given)
    if name == "density_change":
        return found[0].normal, found[0].lift, *found[1:]
    return tuple(passes.tensors_in(given[-1] if name == "unsettle" else found))


def speeds(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """Each pass, then the convolution: whole and axis by axis."""
    speed = copy_speed(sizes, device)
    settings = replace(DEFAULTS, steps=sizes.steps)
    momentum, matching = posed(random_pair(sizes.full, device), settings, device)
    section.write(
        f"{cross(sizes.full)}; GB are the inputs read once and the results written once, the floor is what\n"
        f"a copy of these takes ({speed / 1e9:.4g} GB/s)."
    )
    section.write(
        "Passes are Triton's kernels; *formula* is the time of the same in PyTorch's operations."
        if by_kernels(device)
        else "Passes are PyTorch's operations: Triton is not usable here."
        if is_card(device)
        else "Passes are the fused loops of a CPU."
    )
    section.table("pass", "ms", "GB", "GB/s", "floor, ms", "ms / floor", "formula, ms")
    f = _full_fields(momentum, matching.source, matching.system, device)
    for name in section.each(NAMES):
        work = partial(by_pass, name, f)
        with counted(whole_passes=True) as meter:
            work()
        spent = milliseconds(work, device, sizes.repeats, CALLS)
        _row(section, f"`{name}`", spent, meter.bytes, speed, _by_operations(work, device, sizes.repeats))
    section.end_table()
    _convolutions(section, matching.system.kernel, f.am, speed, sizes.repeats, device)


def _full_fields(momentum: Tensor, q: Tensor, system: System, device: torch.device) -> Fields:
    """A state whose base and cotangent are other tensors, as inside a step."""
    shape = q.shape[1:]
    noise = (smooth(shape, len(q), seed, device).mul_(0.01) for seed in (4, 5))
    cotangent = State(*(tangent(one, q) for one in noise))
    return fields_of(State(q, momentum), State(q.clone(), momentum.clone()), cotangent, system)


def _by_operations(work: Callable[[], object], device: torch.device, repeats: int) -> float | None:
    """Milliseconds of a pass in PyTorch's operations, where it is a kernel otherwise."""
    if not by_kernels(device):
        return None
    with by_the_formulas():
        return milliseconds(work, device, repeats, CALLS)


def _row(
    section: Section, name: str, spent: float, moved: int, speed: float, by_operations: float | None
) -> None:
    floor, plain = 1000 * moved / speed, name.replace("`", "")
    cells = (name, f"{spent:.3f}", f"{moved / 1e9:.3g}", f"{moved / spent / 1e6:.4g}", f"{floor:.3g}")
    figures = {
        (plain, "ms"): spent,
        (f"{plain}: read and written", "GB"): moved / 1e9,
        (f"{plain}: time over floor", "1"): spent / floor,
    }
    if by_operations is not None:
        figures[f"{plain}: formula", "ms"] = by_operations
    formula = "" if by_operations is None else f"{by_operations:.3f}"
    section.row((*cells, f"{spent / floor:.1f}", formula), figures)


def along_axis(field: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The product that a convolution takes along one grid axis, as ``kernels.along_all`` does it."""
    dims = field.ndim - 1
    if axis == dims - 1:
        return torch.matmul(field, matrix.T)
    columns = field.shape[axis + 2 :].numel()
    return torch.matmul(matrix, field.reshape(-1, len(matrix), columns)).reshape(field.shape)


def _band(field: Tensor, taps: Tensor, axis: int) -> Tensor:
    from longimorph.numerics import triton_convolution  # needs Triton

    return triton_convolution.filtered(field, taps, axis)


def _convolutions(
    section: Section, kernel: kernels.Kernel, am: Tensor, speed: float, repeats: int, device: torch.device
) -> None:
    section.write("The convolution of a vector field, and the arithmetic that its dense products do:")
    section.table("convolution", "ms", "GB", "GB/s", "floor, ms", "ms / floor", "TFLOP/s")
    once, factor = 2 * am.numel() * am.element_size(), kernel.scales[0].dense
    works: list[tuple[str, int, Callable[[], object]]] = [
        (f"along {name}", len(matrix), partial(along_axis, am, matrix, axis))
        for axis, (name, matrix) in enumerate(zip("xyz", factor, strict=False))
    ]
    if taps := kernel.scales[0].taps if by_kernels(device) else ():
        works += [
            (f"band along {name}", 2 * len(taps[axis]) - 1, partial(_band, am, taps[axis], axis))
            for axis, name in enumerate("xy")
        ]
    works.append(("one scale", sum(map(len, factor)), partial(kernels.along_all, am, factor)))
    works.append(("whole kernel", sum(len(m) for s in kernel.scales for m in s.dense), partial(kernel, am)))
    for name, side, work in section.each(works, lambda one: one[0]):
        spent = milliseconds(work, device, repeats, CALLS)
        flops = 2 * side * am.numel() / (spent / 1000)
        floor = 1000 * once / speed
        cells = (name, f"{spent:.3f}", f"{once / 1e9:.3g}", f"{once / spent / 1e6:.4g}", f"{floor:.3g}")
        section.row(
            (*cells, f"{spent / floor:.1f}", f"{flops / 1e12:.3g}"),
            {(f"convolution, {name}", "ms"): spent, (f"convolution, {name}", "TFLOP/s"): flops / 1e12},
        )
    section.end_table()
