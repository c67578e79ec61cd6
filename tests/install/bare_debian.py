"""A bare Debian system in a folder, and commands in it, with this machine's access to packages."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = ("mmdebstrap", "unshare", "chroot")
_CERTIFICATES = "/tmp/certificates.crt"
_NETWORK = ("/etc/resolv.conf", "/etc/hosts")


def make(tree: Path, suite: str) -> None:
    """Make a Debian without anything that a container's base image would not have."""
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", suite, str(tree)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def pip_variables() -> dict[str, str]:
    """Return this machine's settings of pip as variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"^(:env:|\w+)\.([\w-]+)=('.*')$", listed, flags=re.MULTILINE)
    ordered = sorted(found, key=lambda setting: setting[0] == ":env:")  # variables win over files
    return {f"PIP_{key.upper().replace('-', '_')}": ast.literal_eval(text) for _, key, text in ordered}


def _folder(word: str) -> str:
    """Return the folder or file of a setting of pip; that of an index has its packages beside it."""
    place = word.removeprefix("file://")
    return place.removesuffix("/").removesuffix("/simple") if place != word else place


def run_in(tree: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in the tree, as root, with ``/proc``, and this machine's network and pip's folders.

    What is mounted for it is seen by this command alone, and is gone when it ends.
    """
    settings = pip_variables()
    if "PIP_CERT" in settings:
        shutil.copyfile(settings["PIP_CERT"], f"{tree}{_CERTIFICATES}")
        settings |= {"PIP_CERT": _CERTIFICATES, "SSL_CERT_FILE": _CERTIFICATES}
    words = [_folder(word) for value in settings.values() for word in value.split()]
    places = [
        word for word in words if word.startswith("/") and word != _CERTIFICATES and Path(word).exists()
    ]
    lines = ["set -eu", f"mount -t proc proc {shlex.quote(f'{tree}/proc')}"]
    for place in dict.fromkeys([*_NETWORK, *places]):
        target = Path(f"{tree}{place}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir(exist_ok=True) if Path(place).is_dir() else target.touch()
        lines.append(f"mount --bind {shlex.quote(place)} {shlex.quote(str(target))}")
    lines.append(f"exec chroot {shlex.quote(str(tree))} sh -c {shlex.quote(command)}")
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    environment = {**path, "HOME": "/root", "OMP_NUM_THREADS": "1", **settings}
    return subprocess.run(
        [*apart, "sh", "-c", "\n".join(lines)], env=environment, capture_output=True, text=True
    )
