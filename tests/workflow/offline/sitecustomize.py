"""Keeps Python, and every Python that it starts, off all networks, as on a compute node.

What tries is refused. The file that OFFLINE_NOTES names gets a line per process, and one per attempt, since
an error may be caught.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request"})
_TALK = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


def _note(words: str) -> None:
    with open(os.environ["OFFLINE_NOTES"], "a", encoding="utf-8") as file:
        file.write(words + "\n")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what has to do with another machine: an address that is no path of a socket on this one."""
    if event in _NAMES or (event in _TALK and isinstance(arguments[1], tuple)):
        _note(f"{event} {arguments[1:] if event in _TALK else arguments}")
        raise OSError("the network is out of reach, as this test wants it")


_note("process")
sys.addaudithook(_refuse)
