"""Files whose content was never fetched are named as such, with the command that fetches them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from study_files import regions, write_labels, write_study

from longimorph.errors import InputError, Unusable
from longimorph.io.pointers import unfetched
from longimorph.io.volumes import read_image, read_labels
from longimorph.study import inputs, validate

OBJECT = Path(".git", "annex", "objects", "x4", "7M", "MD5E-s348--d41d8c.nii.gz", "MD5E-s348--d41d8c.nii.gz")
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"


def locked(file: Path) -> None:
    file.symlink_to(Path("..") / OBJECT)


def linked_twice(file: Path) -> None:
    other = file.with_name("other.nii.gz")
    locked(other)
    file.symlink_to(other)


def unlocked(file: Path) -> None:
    file.write_text("/annex/objects/MD5E-s348--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n")


def lfs(file: Path) -> None:
    file.write_text(LFS)


KINDS = pytest.mark.parametrize(
    "make, words",
    [
        (locked, ["a link into git-annex", "datalad get '", "git annex get '"]),
        (linked_twice, ["a link into git-annex", "datalad get '"]),
        (unlocked, ["a pointer of git-annex", "datalad get '", "git annex get '"]),
        (lfs, ["a pointer of Git LFS", 'git lfs pull --include "P1_m6.nii.gz"']),
    ],
)


@KINDS
def test_the_check_names_it_and_the_command(
    tmp_path: Path, make: Callable[[Path], None], words: list[str]
) -> None:
    config = write_study(tmp_path)
    file = tmp_path / "labels" / "P1_m6.nii.gz"
    file.unlink()
    make(file)
    with pytest.raises(InputError) as error:
        validate.validate(config)
    (problem,) = error.value.problems
    assert (problem.row, problem.column) == (3, "regions")
    assert [word for word in [*words, "not fetched"] if word not in problem.message] == []


@KINDS
def test_a_job_names_it_where_the_content_was_dropped_after_the_check(
    tmp_path: Path, make: Callable[[Path], None], words: list[str]
) -> None:
    file = tmp_path / "data" / "P1_m6.nii.gz"
    file.parent.mkdir()
    make(file)
    for read in (read_labels, read_image):
        with pytest.raises(Unusable) as failure:
            read(file)
        assert failure.value.code == "missing"
        assert [word for word in words if word not in failure.value.message] == []


def test_content_that_is_there_is_no_pointer(tmp_path: Path) -> None:
    """An annexed file that was fetched, a small scan, a text, nothing, and a link to nothing else."""
    scan = write_labels(tmp_path / OBJECT, regions())
    fetched = tmp_path / "labels" / "a.nii.gz"
    fetched.parent.mkdir()
    fetched.symlink_to(scan)
    text = tmp_path / "text.tsv"
    text.write_text("version of git-lfs\n")
    gone = tmp_path / "gone.nii.gz"
    gone.symlink_to("nowhere.nii.gz")
    assert [unfetched(path) for path in (fetched, scan, text, gone, tmp_path / "none", tmp_path)] == [
        None
    ] * 6
    assert inputs.state(fetched) == inputs.FILE
