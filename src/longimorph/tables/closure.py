"""Closure: the change over two consecutive steps, compared with the pair of the first and last visit.

With ``pairs: all`` the change from A to C is measured twice: directly, and as A to B plus B to C. The
difference of the two tests the split without a known ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from longimorph.tables import columns

KINDS = ("deformation", "reallocation")


def closure(changes: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """One row per class and triple of visits of a patient, in ``order``, whose three pairs are all done.

    ``changes``: the patient's table. The uncertainties of the three numbers are added, which is an upper
    bound.
    """
    done = changes[changes["status"] == "ok"]
    rows = {(r["from"], r["to"], r["class"]): r for r in done.to_dict("records")}
    pairs = {(start, end) for start, end, _ in rows}
    classes = list(dict.fromkeys(done["class"]))
    found = [
        _row(visits, rows[a, b, name], rows[b, c, name], rows[a, c, name])
        for visits in _triples(order)
        for a, b, c in [visits]
        if {(a, b), (b, c), (a, c)} <= pairs
        for name in classes
    ]
    return pd.DataFrame(found, columns=list(columns.CLOSURE))


def _triples(order: Sequence[str]) -> list[tuple[str, str, str]]:
    return [
        (a, b, c)
        for i, a in enumerate(order)
        for j, b in enumerate(order[i + 1 :], i + 1)
        for c in order[j + 1 :]
    ]


def _row(
    visits: tuple[str, str, str],
    first: Mapping[Any, Any],
    second: Mapping[Any, Any],
    direct: Mapping[Any, Any],
) -> dict[str, object]:
    row: dict[str, object] = dict(zip(("from", "via", "to"), visits, strict=True))
    row |= {"patient": direct["patient"], "class": direct["class"]}
    for kind in KINDS:
        values = [columns.number(one[f"{kind}_mm3"]) for one in (direct, first, second)]
        uncertainties = [columns.number(one[f"{kind}_uncertainty_mm3"]) for one in (direct, first, second)]
        row[f"{kind}_direct_mm3"] = values[0]
        row[f"{kind}_summed_mm3"] = columns.to_decimals(pd.Series([values[1] + values[2]]))[0]
        row[f"{kind}_gap_mm3"] = columns.to_decimals(pd.Series([values[1] + values[2] - values[0]]))[0]
        row[f"{kind}_gap_uncertainty_mm3"] = columns.to_decimals(pd.Series([sum(uncertainties)]))[0]
    return row
