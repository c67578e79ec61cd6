"""Configurations with invalid values, or with content that a reader must not follow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from bad_tables import round_link, sparse
from faults import FINE, Fault, Place

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(9 * [f'*{old}'])}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def added(text: str) -> Callable[[Place], None]:
    """Write lines below the settings."""

    def spoil(place: Place) -> None:
        place.config.write_text(place.config.read_text() + text + "\n")

    return spoil


def whole(content: str | bytes) -> Callable[[Place], None]:
    """Write a configuration of one's own."""
    data = content if isinstance(content, bytes) else content.encode()

    def spoil(place: Place) -> None:
        place.config.write_bytes(data)

    return spoil


def instead(make: Callable[[Path], object]) -> Callable[[Place], None]:
    """Put something else in the place of the configuration."""

    def spoil(place: Place) -> None:
        place.config.unlink()
        make(place.config)

    return spoil


def table(name: str, value: str) -> Callable[[Place], None]:
    """Give a table by another path."""
    return lambda place: place.edit(place.config, f"{name}.tsv", value)


def template(**given: object) -> Callable[[Place], None]:
    """Name a template, and perhaps its mask; ``given``: volumes by the setting's name, None for no file."""

    def spoil(place: Place) -> None:
        for key, made in given.items():
            file = place.config.parent / f"{key}.nii.gz"
            if isinstance(made, nib.Nifti1Image):
                nib.save(made, file)
            elif isinstance(made, bytes):
                file.write_bytes(made)
            added(f"{key}: {file.name}")(place)

    return spoil


def volume(*shape: int, shift: float = 0, shear: float = 0) -> nib.Nifti1Image:
    """A ball of 1 in a volume of voxels of 8 mm."""
    index = np.indices(shape[:3]) - (np.array(shape[:3]) / 2).reshape(3, 1, 1, 1)
    ball = (np.linalg.norm(index, axis=0) < 6).astype(np.float32)
    affine = np.diag([8.0, 8, 8, 1])
    affine[0, 1], affine[0, 3] = shear, shift
    return nib.Nifti1Image(np.broadcast_to(ball.reshape(*shape[:3], *[1] * (len(shape) - 3)), shape), affine)


BALL = volume(20, 20, 20)
SEEN = ("config.yaml", "line")
FAULTS = (
    Fault("an unknown key", added("spacing: 2"), (*SEEN, "'spacing': unknown key", "'spacing_mm'")),
    Fault("a key far from all", added("zzz: 2"), ("unknown key", "Known keys")),
    Fault("text for a number", added("tolerance: small"), ("'tolerance': is not valid", "small")),
    Fault("a number for text", added("pairs: 3"), ("'pairs': is not valid", "consecutive")),
    Fault("yes for a number", added("threads: yes"), ("'threads': is not valid", "True")),
    Fault("a list for a number", added("volume_mm: [6]"), ("'volume_mm': is not valid", "[6]")),
    Fault("a number for a list", added("kernel_mm: 4"), ("'kernel_mm': is not valid",)),
    Fault("a setting of NaN", added("volume_weight: .nan"), ("'volume_weight': is not valid",)),
    Fault("no end", added("amplitude_mm: .inf"), ("'amplitude_mm': is not valid",)),
    Fault("1e999", added("amplitude_mm: 1e999"), ("'amplitude_mm': is not valid",)),
    Fault("a number of 400 digits", added(f"amplitude_mm: {'9' * 400}"), ("'amplitude_mm': is not valid",)),
    Fault("a number of 5000 digits", added(f"amplitude_mm: {'9' * 5000}"), ("config.yaml", "not valid YAML")),
    Fault("a number in words of 5000 digits", added(f"amplitude_mm: '1e{'9' * 5000}'"), ("is not valid",)),
    Fault("out of range", added("volume_mm: -6"), ("'volume_mm': is not valid", "above 0")),
    Fault("keys without a value", added("days:\nspacing_mm:"), ("'spacing_mm': is empty",)),
    Fault("a group of nothing", added("align: 3"), ("'align': is not valid",)),
    Fault("a key twice", added("threads: 1\nthreads: 2"), ("'threads': occurs twice, first on line",)),
    Fault("an indentation by a tab", added("align:\n\tseed: 1"), ("not valid YAML", "tab")),
    Fault("a configuration that is a list", whole("- cohort\n- classes\n"), ("contains no settings",)),
    Fault("an empty configuration", whole(""), ("required key is missing", "cohort", "classes", "control")),
    Fault("several documents", added("---\ncohort: other.tsv"), ("config.yaml", "not valid YAML")),
    Fault("bytes", whole(bytes(range(256))), ("config.yaml",)),
    Fault("a configuration in UTF-16", whole("cohort: cohort.tsv\n".encode("utf-16")), ("UTF-8",)),
    Fault("a bomb", added(BOMB), ("config.yaml", "too large")),
    Fault("an anchor within itself", added("patients: &p [P001, *p]"), ("'patients': is not valid",)),
    Fault("brackets of 3000 levels", added(f"patients: {'[' * 3000}"), ("not valid YAML",)),
    Fault(
        "an object of Python", added("patients: !!python/object/apply:os.mkdir [hacked]"), ("not valid YAML",)
    ),
    Fault("a name of Python", added("device: !!python/name:os.system"), ("not valid YAML",)),
    Fault("code for Snakemake", added("__use_yte__: true"), (*SEEN, "'__use_yte__': unknown key")),
    Fault(
        "an object in words", added("device: '!!python/object/apply:os.mkdir [hacked]'"), ("is not valid",)
    ),
    Fault(
        "a variable in the path of a table",
        table("cohort", "$HOME/cohort.tsv"),
        ("$HOME/cohort.tsv: file not found",),
    ),
    Fault(
        "a variable in braces", table("cohort", "${HOME}/cohort.tsv"), ("${HOME}/cohort.tsv: file not found",)
    ),
    Fault(
        "a command in the path of a table",
        table("cohort", "'`touch hacked`.tsv'"),
        ("`touch hacked`.tsv: file not found",),
    ),
    Fault("a zero byte in the path of a table", table("cohort", '"a\\0.tsv"'), ("is not a valid path",)),
    Fault("a template", template(template=BALL), code=FINE),
    Fault("a template with its mask", template(template=BALL, template_mask=BALL), code=FINE),
    Fault("a template that is not there", template(template=None), (*SEEN, "'template'", "file not found")),
    Fault("a template in a list", added("template: [a.nii.gz]"), ("'template': is not valid",)),
    Fault("a folder as template", added("template: ."), ("'template'", "is a folder")),
    Fault(
        "a template that is text", template(template=b"hello"), ("'template'", "cannot be read as an image")
    ),
    Fault(
        "a template of several volumes", template(template=volume(20, 20, 20, 3)), ("one volume with three",)
    ),
    Fault("a template of one value", template(template=volume(2, 2, 2)), ("same value everywhere",)),
    Fault(
        "a sheared template",
        template(template=volume(20, 20, 20, shear=3)),
        ("right angles", "without shear"),
    ),
    Fault("a mask without a template", template(template_mask=BALL), ("'template_mask'", "template is not")),
    Fault(
        "a mask elsewhere",
        template(template=BALL, template_mask=volume(20, 20, 20, shift=5)),
        ("'template_mask'", "not on the grid of the template", "Resample the mask"),
    ),
    Fault(
        "a mask of everything",
        template(template=BALL, template_mask=volume(2, 2, 2)),
        ("above 0 everywhere",),
    ),
    Fault(
        "a template and a mask that are not there",
        template(template=None, template_mask=None),
        ("2 problems", "'template'", "'template_mask'"),
    ),
    Fault("a patient that is not there", added("patients: [P009]"), ("'P009'", "Did you mean 'P00")),
    Fault("a preset that is not there", table("control", "preset:lesions"), ("is not a preset", "'lesion'")),
    Fault("a preset elsewhere", table("control", "preset:../../config/presets/lesion"), ("is not a preset",)),
    Fault(
        "a byte-order mark in front",
        lambda p: p.config.write_text("\ufeff" + p.config.read_text()),
        code=FINE,
    ),
    Fault("a pipe as configuration", instead(os.mkfifo), ("neither a file nor a folder",)),
    Fault("a configuration of 16 GB", instead(sparse), ("too large",)),
    Fault("a folder as configuration", instead(Path.mkdir), ("is a folder",)),
    Fault("no configuration", instead(lambda f: None), ("config.yaml: file not found",)),
    Fault("a link to itself as configuration", instead(round_link), ("config.yaml", "link")),
)
