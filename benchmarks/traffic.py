"""Bytes that a piece of code moves to and from memory at least, operation by operation.

Every operation is taken to read each input once and to write each result once. A pass over a volume
(``numerics.passes``) can be taken as one operation, whatever it is made of: what a fused loop would move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longimorph.numerics import passes


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that adds up ``bytes``, and ``flops`` of products of matrices.

    Views and memory that is only taken move nothing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes, self.flops, self.paused = 0, 0, False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count it."""
        results = func(*args, **(kwargs or {}))
        if not self.paused and "empty" not in func.__name__:
            inputs = [a for a in tree_leaves((args, kwargs or {})) if isinstance(a, Tensor)]
            outputs = [a for a in tree_leaves(results) if isinstance(a, Tensor)]
            known = {a.untyped_storage().data_ptr() for a in inputs}
            made = any(a.untyped_storage().data_ptr() not in known for a in outputs)
            if made or func._schema.is_mutable:
                self.add(*inputs, *outputs)
            if func.__name__.split(".")[0] in ("mm", "bmm"):
                self.flops += 2 * outputs[0].numel() * inputs[0].shape[-1]
        return results

    def add(self, *tensors: Tensor) -> None:
        """Count each once."""
        self.bytes += sum(min(a.numel() * a.element_size(), a.untyped_storage().nbytes()) for a in tensors)


@contextmanager
def counted(whole_passes: bool) -> Iterator[Traffic]:
    """Count what happens within; with ``whole_passes`` a pass counts as one operation."""
    meter, run, unsettle = Traffic(), passes._run, passes.unsettle

    def once(work: Any, tensors: Sequence[Any], arguments: Sequence[Any]) -> Any:
        meter.paused = True
        try:
            return work(*arguments)
        finally:
            meter.paused = False
            meter.add(*(a for a in tensors if isinstance(a, Tensor)))

    def one_run(name: str, inputs: Sequence[Any], outputs: Sequence[Tensor], u: Tensor) -> None:
        once(run, (*inputs, *outputs), (name, inputs, outputs, u))

    def one_unsettle(state: Any, length: Tensor, along: Tensor, cotangent: Any, u: Tensor) -> None:
        tensors = (*state, length, along, *cotangent, *cotangent)
        once(unsettle, tensors, (state, length, along, cotangent, u))

    if not whole_passes:
        with mock.patch.object(passes, "FUSED_LOOPS", False), meter, torch.no_grad():
            yield meter
        return
    with (
        mock.patch.object(passes, "_run", one_run),
        mock.patch.object(passes, "unsettle", one_unsettle),
        meter,
        torch.no_grad(),
    ):
        yield meter
