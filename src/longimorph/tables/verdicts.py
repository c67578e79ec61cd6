"""The verdict on each pair in the tables: columns of ``changes.csv``, and sentences in ``verdicts.csv``."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from longimorph.tables.columns import VERDICT
from longimorph.verdict import trust
from longimorph.verdict.status import PairStatus

SEPARATOR = "; "


def with_verdict(changes: pd.DataFrame, status: PairStatus, days: float) -> pd.DataFrame:
    """Add the verdict and the codes of its reasons to a pair's rows; both are empty if the pair failed."""
    found = trust.dated(status, days)
    codes = SEPARATOR.join(reason["code"] for reason in found.verdict_reasons or ())
    return changes.assign(**dict(zip(VERDICT, (found.verdict or "", codes), strict=True)))


def verdict_row(names: Mapping[str, str], status: PairStatus, days: float) -> dict[str, str]:
    """The pair's row of ``verdicts.csv``: the verdict, the codes of its reasons and their sentences."""
    found = trust.dated(status, days)
    reasons = found.verdict_reasons or ()
    said = {"codes": SEPARATOR.join(r["code"] for r in reasons)}
    said["sentences"] = " ".join(r["sentence"] for r in reasons)
    return {**names, "status": status.status, "verdict": found.verdict or "", **said}
