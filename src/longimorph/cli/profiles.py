"""Links in the user's Snakemake configuration folder that let Snakemake find the shipped profiles."""

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
    """Register the command."""
    text = "link the ready-made profiles so that snakemake finds them by name"
    sub = commands.add_parser("profiles", help=text, description=text)
    sub.add_argument("--unlink", action="store_true", help="remove the links")
    sub.set_defaults(command=profiles)


def profiles(options: argparse.Namespace) -> int:
    """Link the profiles, or unlink them, and report the result; status 1 if a link could not be created.

    The user's own files are left alone.
    """
    folder = snakemake_folder()
    links = [(folder / profile.name, profile) for profile in shipped()]
    lines = [_unlinked(*link) if options.unlink else _linked(*link) for link in links]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(any(line.startswith("NOT linked") for line in lines))


def shipped() -> list[Path]:
    """Return the folders of the shipped profiles."""
    return sorted(path.parent for path in (repository() / "profiles").glob("*/config.yaml"))


def found(name: str) -> str:
    """Return the profile argument for Snakemake: the ``name``, or the path of a shipped profile.

    A profile of the user or of the site takes precedence.
    """
    own = {profile.name: profile for profile in shipped()}.get(name)
    if own is None or os.path.exists(name) or any((folder / name).exists() for folder in snakemake_folders()):
        return name
    return str(own)


def snakemake_folder() -> Path:
    """Return the folder where Snakemake looks for this user's profiles."""
    return snakemake_folders()[0]


def snakemake_folders() -> list[Path]:
    """Return the folders where Snakemake looks for profiles: this user's and the site's."""
    question = "from snakemake.common import get_appdirs; dirs = get_appdirs()\n"
    question += "print(dirs.user_config_dir, dirs.site_config_dir, sep='\\n')"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True)
    if answer.returncode:
        raise LongimorphError("Snakemake does not report its folder; run longimorph doctor to see why.")
    return [Path(line) for line in answer.stdout.splitlines()]


def _linked(link: Path, profile: Path) -> str:
    if _is_link_to(link, profile):
        return f"snakemake --profile {profile.name}: {link} is a link to {profile}"
    if os.path.lexists(link) and not _leads_nowhere(link):
        return (
            f"NOT linked: {link} already exists and was not changed. "
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
        return f"{link} is not a link to {profile}, and was not changed"
    link.unlink()
    return f"{link} was removed"


def _is_link_to(link: Path, profile: Path) -> bool:
    return link.is_symlink() and link.resolve() == profile.resolve()


def _leads_nowhere(link: Path) -> bool:
    return link.is_symlink() and not link.exists()
