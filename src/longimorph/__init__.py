"""longimorph: separates longitudinal change into tissue that moved and tissue that changed class in place."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("longimorph")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
