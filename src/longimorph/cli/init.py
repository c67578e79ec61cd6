"""``longimorph init``: create a folder for a study, with every input file to fill in."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from longimorph import paths
from longimorph.cli import screen
from longimorph.errors import LongimorphError

CONFIG = Path("config", "config.yaml")
EARLIER = Path("config.yaml")
"""Possible location of the settings of a manually created study."""

TEMPLATES = ("README.md", "config.yaml", "cohort.tsv", "classes.tsv", "control.tsv", "gpus.tsv")


def config_of(text: str) -> Path:
    """The configuration that ``text`` names: a file, or the folder of a study."""
    named = Path(text)
    inside = [named / CONFIG, named / EARLIER]
    return next((file for file in inside if file.is_file()), named)


def register(commands: Any) -> None:
    """Register the command."""
    text = "start a study: write a folder with settings and tables to fill in"
    about = "Write the folder config of a new study: the settings, the three tables, an example for the GPUs "
    about += (
        "of a cluster, class tables for common tools, and README.md, which explains every key and column. "
    )
    about += "Existing files are never changed."
    sub = commands.add_parser("init", help=text, description=about)
    sub.add_argument("directory", type=Path, help="folder of the study; created if missing")
    sub.set_defaults(command=init)


def init(options: argparse.Namespace) -> int:
    """Write the templates, and print the next steps."""
    folder: Path = options.directory
    _refuse_what_is_there(folder)
    write(folder)
    screen.say(f"{folder / CONFIG.parent}: input files of a new study, with an example in every table. Next:")
    for step in _next_steps(folder):
        screen.say(f"  {step}", indent=4)
    return 0


def _next_steps(folder: Path) -> list[str]:
    config = folder / CONFIG.parent
    steps = [
        f"{config / 'cohort.tsv'}: replace the examples by your scans; longimorph index writes this table "
        "from a BIDS tree",
        f"{config / 'classes.tsv'}: which labels make up which class; tables for common tools are in "
        f"{config / 'examples'}",
        f"{config / 'control.tsv'}: which class changes are deformation; or set a preset in "
        f"{config / 'config.yaml'}",
    ]
    if folder.resolve() != Path.cwd():
        steps.append(f"cd {shlex.quote(str(folder))}")
    return [*steps, "longimorph check", "longimorph run"]


def _refuse_what_is_there(folder: Path) -> None:
    """Raise LongimorphError if the study would collide with an existing one, or with a file."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise LongimorphError(f"{folder} exists and is not a folder. Choose another folder.")
    for name in (CONFIG.parent, EARLIER):
        if os.path.lexists(folder / name):
            raise _Taken(folder / name)


class _Taken(LongimorphError):
    """The location of the study is already in use."""

    def __init__(self, path: Path) -> None:
        config = path / CONFIG.name if path.name == CONFIG.parent.name else path
        super().__init__(
            f"{path} already exists, and init overwrites nothing. Choose another folder, or move "
            f"{path.name} away. To continue with the existing study: longimorph check {config}"
        )


def write(folder: Path) -> None:
    """Write the folder ``config`` of a study below ``folder``, atomically."""
    source = paths.repository() / CONFIG.parent
    with _folder_of_its_own(folder) as unfinished:
        for name in TEMPLATES:
            shutil.copyfile(source / name, unfinished / name)
        (unfinished / "examples").mkdir()
        for table in sorted((source / "examples").glob("*_classes.tsv")):
            shutil.copyfile(table, unfinished / "examples" / table.name)
        try:
            os.rename(unfinished, folder / CONFIG.parent)
        except OSError as error:
            if os.path.lexists(folder / CONFIG.parent):
                raise _Taken(folder / CONFIG.parent) from error
            raise


@contextmanager
def _folder_of_its_own(folder: Path) -> Iterator[Path]:
    """Yield a new folder in ``folder``, which is created if missing; remove what was created on an error."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".tmp-{os.getpid()}-{secrets.token_hex(4)}-config"
    try:
        unfinished.mkdir()
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise
