"""What a piece of code asks of a device: operations launched, bytes moved, times that Python waits for it.

Every operation is taken to read each input once and to write each result once. A pass over a volume
(``numerics.passes``) can be taken as one operation, whatever it is made of: what a fused loop would move.
Tensors on the device ``meta`` have a shape and no memory: with them a problem of any size is walked as on a
GPU, in seconds, and nothing is computed. A number that Python would wait for is then made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu_card import by_the_formulas
from longimorph.numerics import conjugate, passes

KERNELS = {"density", "metric", "rate", "advance", "density_change", "pull_back", "unsettle"}
"""The passes that have a Triton kernel."""
ITEM = "_local_scalar_dense"
ACROSS = ("_to_copy", "copy_")
"""What may take tensors of two devices."""


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that adds up what happens within.

    ``bytes`` and ``launches`` are those of operations that make or change a tensor; views and memory that is
    only taken are none. ``flops`` are those of products of matrices. ``syncs`` counts, by name, what Python
    waits for: numbers read, and copies between device and host. An operation on tensors of two devices raises
    ``RuntimeError``.
    """

    def __init__(self, made_up: float = 1.0, shrinks: float = 1.0) -> None:
        """``made_up`` is the number that Python is given where there is none to read; each is ``shrinks``
        times the one before.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._made_up, self._shrinks = made_up, shrinks
        self.bytes, self.flops, self.launches, self.paused = 0, 0, 0, False
        self.syncs: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count it."""
        name, inputs = func.__name__.split(".")[0], _tensors((args, kwargs or {}))
        if name == ITEM:
            self.syncs[name] += 1
            if inputs[0].is_meta:
                return True if inputs[0].dtype == torch.bool else self._next()
        results = self._run(func, name, inputs, args, kwargs or {})
        if not self.paused and "empty" not in name:
            written = _tensors((kwargs or {}).get("out"))
            self._count(func, name, _without(inputs, written), _tensors(results))
        return results

    def _next(self) -> float:
        number = self._made_up
        self._made_up *= self._shrinks
        return number

    def _run(
        self, func: Any, name: str, inputs: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        kinds = {a.device.type for a in inputs if a.ndim > 0}
        if name not in ACROSS and len(kinds) > 1:
            raise RuntimeError(f"{name} of tensors on {' and '.join(sorted(kinds))}")
        to = kwargs.get("device")
        if name == "_to_copy" and inputs[0].is_meta and to is not None and torch.device(to).type == "cpu":
            dtype = kwargs.get("dtype") or inputs[0].dtype
            results: Any = torch.full(inputs[0].shape, self._made_up, dtype=dtype)
        else:
            results = func(*args, **kwargs)
        if len({a.device.type for a in [*inputs, *_tensors(results)]}) > 1:
            self.syncs[name] += 1
        return results

    def _count(self, func: Any, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        known = {a.untyped_storage()._cdata for a in inputs}
        if func._schema.is_mutable or any(a.untyped_storage()._cdata not in known for a in outputs):
            self.launches += 1
            self.add(*inputs, *outputs)
        if name in ("mm", "bmm"):
            self.flops += 2 * outputs[0].numel() * inputs[0].shape[-1]

    def launched(self, *tensors: Tensor) -> None:
        """Count a kernel of our own that reads or writes each of these once."""
        self.launches += 1
        self.add(*tensors)

    def add(self, *tensors: Tensor) -> None:
        """Count each once."""
        self.bytes += sum(min(a.numel() * a.element_size(), a.untyped_storage().nbytes()) for a in tensors)


def _without(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Each element once, without those in the others."""
    return list({id(a): a for a in tensors if not any(a is b for b in others)}.values())


def _tensors(tree: Any) -> list[Tensor]:
    return [a for a in tree_leaves(tree) if isinstance(a, Tensor)]


def _numbers(arguments: Sequence[Any]) -> list[float]:
    return [one for one in arguments if isinstance(one, float)]


@contextmanager
def counted(whole_passes: bool) -> Iterator[Traffic]:
    """Count what happens within; with ``whole_passes`` a pass counts as one operation."""
    meter, run, band = Traffic(), passes._run, passes.filtered_on_gpu

    def once(which: passes.Pass, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        meter.paused = True
        try:
            run(which, inputs, outputs)
        finally:
            meter.paused = False
            meter.launched(*_tensors((inputs, outputs)))

    if not whole_passes:
        with by_the_formulas(), meter, torch.no_grad():
            yield meter
        return

    def filtered(field: Tensor, taps: Sequence[Tensor]) -> Tensor:
        for _ in taps:
            meter.launched(field, field)  # read, and written as another
        return band(field, taps)

    with mock.patch.multiple(passes, _run=once, filtered_on_gpu=filtered), meter, torch.no_grad():
        yield meter


class _Counted:
    """Stands in for the modules of Triton kernels: counts what they launch, and computes nothing."""

    KERNELS = KERNELS

    def __init__(self, meter: Traffic) -> None:
        self._meter = meter

    def run(self, name: str, arguments: Sequence[Any], _: Tensor) -> None:
        """A pass; the cotangent that it overwrites, or adds to, is read as well as written.

        The last numbers of ``pull_back`` are ``added`` and ``settled``.
        """
        self._meter.launched(*_tensors(arguments))
        if name == "unsettle" or (name == "pull_back" and _numbers(arguments)[-2] > 0):
            self._meter.add(*arguments[-2:])

    def filtered(self, field: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """A band along each of some axes."""
        for _ in taps:
            out = torch.empty_like(field)
            self._meter.launched(field, out)
            field = out
        return field

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """A scalar product; the sums of its blocks are too few to count."""
        self._meter.launched(a, b)
        return a.new_zeros(1, dtype=torch.float64).sum()


@contextmanager
def counted_by_kernels() -> Iterator[Traffic]:
    """Count what happens within on the device ``meta`` if Triton's kernels did what they can.

    What is walked has to be built within, because kernels choose between bands and matrices when built.
    """
    meter = Traffic()
    counted = _Counted(meter)

    def kernels_for(fields: Sequence[Tensor]) -> _Counted | None:
        return counted if all(field.is_meta and field.ndim == 4 for field in fields) else None

    with (
        mock.patch.multiple(passes, kernels_for=kernels_for, filtered_on_gpu=counted.filtered),
        mock.patch.object(conjugate, "_kernels", lambda *fields: kernels_for(fields)),
        meter,
        torch.no_grad(),
    ):
        yield meter
