"""The SLURM commands of the documentation, on the tests' cluster."""

from __future__ import annotations

import re
import shlex
import subprocess

from documented_commands import found

PROGRAMS = ("squeue", "sinfo", "scontrol", "scancel")


def test_what_the_pages_say_of_slurm() -> None:
    texts = list(dict.fromkeys(command.text for command in found() if command.program in PROGRAMS))
    texts.sort(key=lambda text: text.startswith("scancel"))  # the job that the others look at ends last
    assert {text.split()[0] for text in texts} == set(PROGRAMS)
    submitted = subprocess.run(
        ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap", "sleep 30"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    number = submitted.stdout.strip()
    for text in texts:
        filled = text.replace("NUMBER", number)
        filled = re.sub(r"--name( …)?$", "--name longimorph", filled)
        run = subprocess.run(shlex.split(filled), capture_output=True, text=True)
        assert run.returncode == 0, f"{filled}: {run.stderr}"
        if "%" in filled and "squeue" in filled:
            assert number in run.stdout, filled
