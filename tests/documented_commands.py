"""The commands that README and docs tell a user to type, with their location."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    REPOSITORY / name for name in ("README.md", "config/README.md", "profiles/README.md")
] + sorted((REPOSITORY / "docs").glob("*.md"))  # fmt: skip
PROGRAMS = frozenset({
    "longimorph", "snakemake", "make", "python", "pip", "source", "mkdir", "cp", "cd", "git", "export",
    "nohup", "sudo", "docker", "apptainer", "pgrep", "squeue", "scancel", "sinfo", "scontrol", "sbatch",
    "sacct",
})  # fmt: skip
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One command, and the page that has it."""

    page: str
    text: str

    @property
    def program(self) -> str:
        """The word that it begins with."""
        return self.text.split()[0]


def found() -> list[Command]:
    """Return every command of every page, each once per page, in the order of the pages."""
    return [
        Command(page.relative_to(REPOSITORY).as_posix(), text)
        for page in PAGES
        for text in dict.fromkeys(_of(page.read_text(encoding="utf-8")))
    ]


def shell_lines(text: str) -> Iterator[str]:
    """Return the lines of a page's shell blocks, which have no language or ``sh``, and of indented blocks.

    Three spaces part a command from its explanation; a line that begins with more than eight is a
    continuation of the explanation.
    """
    for block in _BLOCK.finditer(text):
        if block[2] in ("", "sh"):
            inner = [line.removeprefix(block[1]) for line in block[3].splitlines()]
            yield from (line for line in inner if line.strip() and not line.startswith(" " * 8))
    for line in _BLOCK.sub("", text).splitlines():
        if line.startswith("    ") and line.split()[:1] and line.split()[0] in PROGRAMS:
            yield line.strip()


def _of(text: str) -> Iterator[str]:
    for line in shell_lines(text):
        yield from (part.strip() for part in re.split(r" {3,}", line)[0].split(" && "))
    for span in re.findall(r"`([^`]+)`", _BLOCK.sub("", text)):
        words = span.split()
        if len(words) > 1 and words[0] in PROGRAMS:
            yield " ".join(words)
