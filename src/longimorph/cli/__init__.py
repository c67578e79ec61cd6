"""The command ``longimorph``: subcommands for use before, during and after a run."""

from longimorph.cli.main import main

__all__ = ["main"]
