"""Links in the user's Snakemake configuration folder, by which Snakemake finds the ready-made profiles."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from longimorph.errors import LongimorphError
from longimorph.paths import repository


def register(commands: Any) -> None:
    """Add the command to those of the command line."""
    text = "let snakemake find the ready-made profiles by their names"
    sub = commands.add_parser("profiles", help=text, description=text)
    sub.add_argument("--unlink", action="store_true", help="take the links away again")
    sub.set_defaults(command=profiles)


def profiles(options: argparse.Namespace) -> int:
    """Link the profiles, or unlink them, and say what was done; status 1 where a link could not be made.

    What is the user's own is left alone.
    """
    shipped = sorted(path.parent for path in (repository() / "profiles").glob("*/config.yaml"))
    folder = snakemake_folder()
    links = [(folder / profile.name, profile) for profile in shipped]
    lines = [_unlinked(*link) if options.unlink else _linked(*link) for link in links]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(any(line.startswith("NOT linked") for line in lines))


def snakemake_folder() -> Path:
    """Return the folder where Snakemake looks for this user's profiles."""
    question = "from snakemake.common import get_appdirs; print(get_appdirs().user_config_dir)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True)
    if answer.returncode:
        raise LongimorphError("Snakemake cannot be asked for its folder: longimorph doctor tells more.")
    return Path(answer.stdout.strip())


def _linked(link: Path, profile: Path) -> str:
    if _is_link_to(link, profile):
        return f"snakemake --profile {profile.name}: {link} is a link to {profile}"
    if os.path.lexists(link) and not _leads_nowhere(link):
        return (
            f"NOT linked: {link} is there already and was left alone. "
            f"Use snakemake --profile {profile}, or move yours away and run longimorph profiles again."
        )
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(profile, target_is_directory=True)
    except OSError as error:
        return f"NOT linked: {link}: {error.strerror}. Use snakemake --profile {profile}"
    return f"snakemake --profile {profile.name}: {link} is now a link to {profile}"


def _unlinked(link: Path, profile: Path) -> str:
    if not _is_link_to(link, profile):
        return f"{link} is no link to {profile}, and was left alone"
    link.unlink()
    return f"{link} was taken away"


def _is_link_to(link: Path, profile: Path) -> bool:
    return link.is_symlink() and link.resolve() == profile.resolve()


def _leads_nowhere(link: Path) -> bool:
    return link.is_symlink() and not link.exists()
