"""The command ``longimorph``: what can be asked before, during and after a run."""

from longimorph.cli.main import main

__all__ = ["main"]
