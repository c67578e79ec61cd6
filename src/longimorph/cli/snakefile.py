"""``longimorph snakefile``: print the location of the workflow, for Snakemake's own command line."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from longimorph import paths


def register(commands: Any) -> None:
    """Register the command."""
    text = 'print the path of the workflow, for snakemake -s "$(longimorph snakefile)"'
    sub = commands.add_parser("snakefile", help=text, description=text)
    sub.set_defaults(command=snakefile)


def snakefile(options: argparse.Namespace) -> int:
    """Print the path of the Snakefile, and nothing else."""
    sys.stdout.write(f"{paths.snakefile()}\n")
    return 0
