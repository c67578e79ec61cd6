"""How the loops for a CPU are compiled with numba, and where their machine code is kept.

Numba keeps machine code beside the source, or in the folder that NUMBA_CACHE_DIR names. It numbers the files
of a function and enters a number in an index before the file is written. Two processes that start at the same
time then use one number for different types of arguments, or read the file of an earlier version, and run
code that was made for other arguments. Here the name of a file follows from everything that its content
depends on, and there is no index.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile
from numba.core.compiler import CompilerBase, DefaultPassBuilder

_OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


class _Apart(CompilerBase):
    """Numba's own pipeline, for functions whose written arrays do not overlap any other argument."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]  # type: ignore[no-untyped-call]


class _Files(IndexDataCacheFile):
    """The files of one function: each is named after the version of numba, the state of the source, the types
    of the arguments and the processor.
    """

    def save(self, key: object, data: object) -> None:
        """Write what was compiled for a key."""
        self._save_data(self._named(key), data)  # type: ignore[no-untyped-call]

    def load(self, key: object) -> object | None:
        """Read what was compiled for a key; None if there is nothing."""
        try:
            return self._load_data(self._named(key))  # type: ignore[no-untyped-call, no-any-return]
        except OSError:
            return None

    def _named(self, key: object) -> str:
        known = repr((self._version, self._source_stamp, key))
        return f"{self._index_name}.{hashlib.sha256(known.encode()).hexdigest()[:32]}.nbc"


def loop(function: Any) -> Any:
    """Compile an innermost loop, whose written arrays must not overlap any other argument."""
    return numba.njit(pipeline_class=_Apart, **_OPTIONS)(function)


def compiled(function: Any) -> Any:
    """Compile on first use; keep the machine code on disk where a folder is writable."""
    try:
        made = numba.njit(cache=True, **_OPTIONS)(function)
        kept = made._cache
        stamp = kept._impl.locator.get_source_stamp()
        files: Any = _Files
        kept._cache_file = files(kept.cache_path, kept._impl.filename_base, stamp)
    except (RuntimeError, AttributeError, TypeError):  # no such folder, or a numba that keeps code otherwise
        return numba.njit(**_OPTIONS)(function)
    return made
