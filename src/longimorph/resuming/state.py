"""The state of a registration on disk: numbers in one JSON file, each vector in a separate file.

Vectors are written once and named by the JSON file, which is replaced atomically: whenever the process ends,
all files that it names exist. Vectors that it no longer names are deleted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from longimorph import numerics
from longimorph.io.atomic import atomic_path, write_json
from longimorph.numerics.journal import OptimiserState, Vector
from longimorph.numerics.objective import Evaluation
from longimorph.numerics.optimise import Optimum

NAME = "state.json"
_EVALUATION = ("cost", "mismatch", "energy", "drift")
_COUNTERS = ("damping", "least_damping", "number", "evaluations", "small", "again")
_OUTCOME = ("evaluations", "reason", "converged", "too_few_steps")

Record = dict[str, Any]


def fingerprint(*parts: object) -> str:
    """What a state belongs to: ``parts`` as text, the code of the numerics, and the version of PyTorch."""
    digest = hashlib.sha256(repr((parts, torch.__version__)).encode())
    for file in sorted(Path(numerics.__path__[0]).glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Stored:
    """A vector in a file."""

    file: Path

    def get(self) -> Tensor:
        """Read the vector."""
        return torch.from_numpy(np.load(self.file))

    def cpu(self) -> Tensor:
        """Read the vector."""
        return self.get()


class StateFiles:
    """The states of one registration in a folder; ``key`` identifies what they belong to."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key, self._count = folder, key, 0
        self._names: WeakKeyDictionary[Vector, str] = WeakKeyDictionary()

    def read(self) -> Record | None:
        """The last record written, None if there is none for this key; unusable records are deleted."""
        try:
            found = json.loads((self._folder / NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("key") != self._key or not self._whole(found):
            self.delete()
            return None
        self._count = int(found["files"])
        record: Record = found["record"]
        return record

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the last record by ``record``, and delete the vectors that it does not name."""
        write_json(self._folder / NAME, {"key": self._key, "files": self._count, "record": record})
        named = set(_names_in(record))
        for file in self._folder.glob("*.npy"):
            if file.name not in named:
                file.unlink(missing_ok=True)

    def delete(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def record_end(self, optimum: Optimum) -> Record:
        """Create the record of a completed descent, and write its momentum."""
        name = self._put(optimum.momentum)
        return {
            "vectors": [name],
            **{key: getattr(optimum.evaluation, key) for key in _EVALUATION},
            "outcome": {key: getattr(optimum, key) for key in _OUTCOME},
        }

    def optimum(self, record: Mapping[str, Any]) -> Optimum:
        """The optimum of such a record, on the host and without its gradient."""
        (name,) = record["vectors"]
        return Optimum(Stored(self._folder / name).get(), _evaluation(record), **record["outcome"])

    def record_state(self, state: OptimiserState) -> Record:
        """Create the record of a descent's current state, and write the vectors that are not on disk yet."""
        pairs = list(state.pairs)
        vectors = [state.momentum, state.gradient, *(v for s, y, _ in pairs for v in (s, y))]
        return {
            "vectors": [self._store(vector) for vector in vectors],
            "products": [sy for _, _, sy in pairs],
            **{key: getattr(state.evaluation, key) for key in _EVALUATION},
            "counters": {key: getattr(state, key) for key in _COUNTERS},
        }

    def state(self, record: Mapping[str, Any]) -> OptimiserState:
        """The state of a descent from such a record; its vectors are read on demand."""
        momentum, gradient, *rest = (self._stored(name) for name in record["vectors"])
        pairs = list(zip(rest[::2], rest[1::2], record["products"], strict=True))
        return OptimiserState(momentum, gradient, pairs, _evaluation(record), **record["counters"])

    def _stored(self, name: str) -> Stored:
        stored = Stored(self._folder / name)
        self._names[stored] = name
        return stored

    def _store(self, vector: Vector) -> str:
        if vector not in self._names:
            self._names[vector] = self._put(vector.cpu())
        return self._names[vector]

    def _put(self, tensor: Tensor) -> str:
        self._count += 1
        name = f"{self._count:05d}.npy"
        with atomic_path(self._folder / name) as temporary:
            np.save(temporary, tensor.cpu().numpy())
        return name

    def _whole(self, found: Mapping[str, Any]) -> bool:
        return all((self._folder / name).is_file() for name in _names_in(found["record"]))


def _names_in(record: Mapping[str, Any]) -> list[str]:
    parts = [*record["ended"], *([record["state"]] if record["state"] else [])]
    return [name for part in parts for name in part["vectors"]]


def _evaluation(record: Mapping[str, Any]) -> Evaluation:
    return Evaluation(gradient=torch.empty(0), **{key: float(record[key]) for key in _EVALUATION})
