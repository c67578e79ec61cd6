"""Whether a tag may be released: python .ci/release_check.py v0.2.0

The version stands in four places, which have to agree; exit status 1 and a line for each that does not.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """What stands in the way of releasing ``tag``, one sentence each."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = tag.removeprefix("v")
    found = []
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        found.append(f"The tag is {tag}; expected v and three numbers, such as v0.2.0.")
    if project["version"] != version:
        found.append(f"pyproject.toml has version {project['version']}, not {version}.")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    if f"\nversion: {version}\n" not in citation:
        found.append(f"CITATION.cff does not have version {version}.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, flags=re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading '## [{version}] - YEAR-MONTH-DAY'.")
    if any("OWNER" in address for address in project["urls"].values()):
        found.append("[project.urls] of pyproject.toml still names OWNER; put the repository's owner there.")
    return found


if __name__ == "__main__":
    stops = problems(sys.argv[1] if len(sys.argv) > 1 else "")
    print("\n".join(stops) or f"{sys.argv[1]} may be released.")
    sys.exit(bool(stops))
