"""Run several Snakemakes, each in its own process, forked from one that has imported it.

    python snakemakes.py < JSON

Reads a list of [folder, [argument, …]], prints a list of [status, output].
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

from snakemake.cli import main


def run(folder: str, arguments: list[str]) -> tuple[int, str]:
    """Return the status and the output of one Snakemake."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.chdir(folder)
            sys.argv = ["snakemake", *arguments]
            try:
                main(arguments)
            except SystemExit as end:
                os._exit(int(end.code or 0))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return status, output.read()


if __name__ == "__main__":
    json.dump([run(folder, arguments) for folder, arguments in json.load(sys.stdin)], sys.stdout)
