"""Peak bytes of tensors held by a piece of code, counted exactly on any device.

PyTorch notifies a dispatch mode of every operation; the storages of its results are counted while they live,
through a weak reference to each. Scratch space that an operation allocates and frees internally is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longimorph.numerics.parking import parking


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context manager; ``peak`` is the largest sum of bytes of storages alive at the same time within it.

    ``held`` are tensors made earlier that count from the start. ``host_peak`` is the same for tensors parked
    on the host (``numerics.parking``), which ``peak`` excludes. ``elsewhere`` are tensors that are never
    counted. Use each instance once, on one thread.
    """

    def __init__(self, held: Sequence[Tensor] = (), elsewhere: Sequence[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._elsewhere = [tensor.untyped_storage() for tensor in elsewhere]
        self._peaks = {False: 0, True: 0}
        self._live = {False: 0, True: 0}
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in held:
            self._count(tensor)

    @property
    def peak(self) -> int:
        """Peak in bytes, excluding parked tensors."""
        return self._peaks[False]

    @property
    def host_peak(self) -> int:
        """Peak in bytes of parked tensors."""
        return self._peaks[True]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it returns."""
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return results

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size, where = id(storage), storage.nbytes(), parking()
        if key in self._seen or any(storage is other for other in self._elsewhere):
            return

        def forget(_: weakref.ref[torch.UntypedStorage]) -> None:
            del self._seen[key]
            self._live[where] -= size

        self._seen[key] = weakref.ref(storage, forget)
        self._live[where] += size
        self._peaks[where] = max(self._peaks[where], self._live[where])
