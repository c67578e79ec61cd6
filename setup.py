"""Puts the workflow, its profiles and the templates of a study into the wheel; the rest is in pyproject.toml.

They stay where they are in the repository. An editable installation reads them there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PLACE = Path("longimorph", "shipped")
SHIPPED = (
    "Snakefile",
    "workflow/Snakefile",
    "workflow/report/*.rst",
    "workflow/rules/*.smk",
    "workflow/schemas/*.yaml",
    "workflow/scripts/*.py",
    "config/README.md",
    "config/config.yaml",
    "config/c*.tsv",
    "config/gpus.tsv",
    "config/examples/*_classes.tsv",
    "config/presets/*.yaml",
    "profiles/README.md",
    "profiles/*/config.yaml",
    "profiles/*/gpus.tsv",
    "envs/*.yaml",
    "envs/*.sh",
)


def shipped() -> list[str]:
    """Return the files that the wheel takes besides the package, from the root on."""
    found = [sorted(ROOT.glob(pattern)) for pattern in SHIPPED]
    return [path.relative_to(ROOT).as_posix() for paths in found for path in paths]


class BuildWithWorkflow(build_py):
    """The package, and in a folder of it the files around it; a source distribution takes them too."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        place = Path(self.build_lib, PLACE)
        shutil.rmtree(place, ignore_errors=True)
        for name in shipped():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *shipped()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        made = super().get_outputs(include_bytecode)
        return (
            made if self.editable_mode else [*made, *(str(Path(self.build_lib, PLACE, n)) for n in shipped())]
        )


setup(cmdclass={"build_py": BuildWithWorkflow})
