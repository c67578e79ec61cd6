"""Labels of BIDS for any names: letters and digits, one for each, whatever else there is."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from longimorph.bids.labels import labels

NAMES = st.lists(st.text("abAB01-_ +é", min_size=1, max_size=5), max_size=12, unique=True)
VALID = st.lists(st.text("abc01", min_size=1, max_size=4), max_size=8, unique=True)


@given(NAMES)
def test_labels_are_valid_and_no_two_are_equal_on_any_disk(names: list[str]) -> None:
    found = labels(names)
    assert set(found) == set(names)
    assert all(re.fullmatch("[A-Za-z0-9]+", label) for label in found.values())
    assert len({label.lower() for label in found.values()}) == len(names)


@given(NAMES, st.randoms())
def test_the_order_of_the_names_does_not_matter(names: list[str], chance) -> None:
    mixed = names.copy()
    chance.shuffle(mixed)
    assert labels(mixed) == labels(names)


@given(VALID, NAMES)
def test_a_name_that_is_a_label_keeps_it_whatever_others_there_are(
    valid: list[str], names: list[str]
) -> None:
    others = [name for name in names if not re.fullmatch("[A-Za-z0-9]+", name)]
    found = labels([*others, *valid])
    assert {name: found[name] for name in valid} == {name: name for name in valid}


@given(NAMES, NAMES)
def test_a_label_given_once_stays_when_names_are_added(names: list[str], more: list[str]) -> None:
    first = labels(names)
    later = labels([*names, *more], kept=first)
    assert {name: later[name] for name in names} == first
    assert len({label.lower() for label in later.values()}) == len(later)


def test_examples() -> None:
    assert labels(["sub-01", "P_2"], "sub-") == {"sub-01": "01", "P_2": "P2"}
    found = labels(["P-2", "P2", "P_2", "-"])
    assert found["P2"] == "P2" and found["P-2"] != found["P_2"]
    assert re.fullmatch("P2[0-9a-f]{6}", found["P-2"]) and re.fullmatch("[0-9a-f]{6}", found["-"])
