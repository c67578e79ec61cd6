"""How the mixed models of docs/statistics.md do on simulated cohorts: slopes, and errors of the first kind.

The functions under test are those of the page: its Python blocks are read and their definitions executed. A
fit by statsmodels takes about a second, so the same likelihood is maximised here from sums over subjects, and
statsmodels itself fits every 50th model; the largest difference of the p-values is part of the summary.
Results are kept row by row in a CSV file, so a run can be stopped and continued. ``make bench-statistics``.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
OUT = Path("build") / "statistics.csv"
COLUMNS = ("model", "law", "seed", "class", "controls", "difference", "p", "p_statsmodels")
MODELS = ("volumes", "deformation", "harmonised")
LAWS = ("equal", "apart")
"""Patients change as controls do, or half as fast again."""
ALPHA = 0.05
CHECKED = 50
SLOPE, DIFFERENCE = "years_since_first", "years_since_first:group[T.patient]"

Fit = dict[str, tuple[float, float]]
"""Estimate and p-value by name of the fixed effect."""


def blocks(page: Path = PAGE) -> list[str]:
    """The Python blocks of a page, from the top to the bottom."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@cache
def functions() -> dict[str, Any]:
    """The functions and constants that the page defines, without what it does with them."""
    names: dict[str, Any] = {}
    for block in blocks():
        exec("\n\n".join(_definitions(block)), names)  # a page of this repository
    return names


def _definitions(block: str) -> Iterator[str]:
    """The imports, constants and functions among the statements of a block."""
    for statement in re.split(r"\n(?=\S)", block):
        if re.match(r"(import|from|def) |[A-Z_]+ = ", statement):
            yield statement


def restricted_likelihood(model: Any) -> Fit:
    """Fit a MixedLM of statsmodels with two random effects by REML.

    In units of the residual variance, the covariance 1 + Z L Lᵀ Zᵀ of a subject has the inverse
    1 - Z L (1 + Lᵀ Zᵀ Z L)⁻¹ Lᵀ Zᵀ. With A = (X, y), therefore, ZᵀZ and ZᵀA of each subject and the sum of
    AᵀA are all that is needed; y is what ordinary least squares leave, against cancellation.
    """
    ordinary = np.linalg.lstsq(model.exog, model.endog, rcond=None)[0]
    pairs = zip(model.exog_li, model.endog_li, strict=True)
    joined = [np.column_stack([x, y - x @ ordinary]) for x, y in pairs]
    gram = np.stack([z.T @ z for z in model.exog_re_li])
    cross = np.stack([z.T @ a for z, a in zip(model.exog_re_li, joined, strict=True)])
    total = sum(a.T @ a for a in joined)
    free = sum(map(len, joined)) - (total.shape[0] - 1)

    def solved(packed: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        """-2 log likelihood, the precision of the fixed effects, their estimates, the residual variance."""
        root = np.array([[packed[0], 0.0], [packed[1], packed[2]]])
        core, part = np.eye(2) + root.T @ gram @ root, root.T @ cross
        weighted = total - np.einsum("sij,sik->jk", part, np.linalg.solve(core, part))
        precision, right = weighted[:-1, :-1], weighted[:-1, -1]
        effects = np.linalg.solve(precision, right)
        variance = float(weighted[-1, -1] - right @ effects) / free
        cost = free * math.log(variance) + np.linalg.slogdet(core)[1].sum() + np.linalg.slogdet(precision)[1]
        return float(cost), precision, effects, variance

    def cost(packed: np.ndarray, *_: object, **__: object) -> float:
        return solved(packed)[0]

    best = optimize.minimize(cost, [1.0, 0.0, 0.5], method="BFGS", options={"gtol": 1e-2, "eps": 1e-5})
    _, precision, change, variance = solved(best.x)
    effects = ordinary + change
    errors = np.sqrt(variance * np.diag(np.linalg.inv(precision)))
    p_values = 2 * stats.norm.sf(np.abs(effects / errors))
    return dict(zip(model.exog_names, zip(effects.tolist(), p_values.tolist(), strict=True), strict=True))


def statsmodels_fit(model: Any) -> Fit:
    """Fit it by statsmodels; NaN where the optimiser did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit()
    trusted = 1.0 if fitted.converged else math.nan
    return {n: (fitted.params[n] * trusted, fitted.pvalues[n] * trusted) for n in (SLOPE, DIFFERENCE)}


def cohort(task: tuple[str, str, int]) -> list[dict[str, Any]]:
    """One simulated cohort: a row for each class whose model is fitted. ``task``: model, law, seed."""
    model, law, seed = task
    made = functions()
    visits = made["simulate"](seed, 0.5 if law == "apart" else 0.0)
    names = list(made["SLOPES"])
    if model == "harmonised":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            visits = made["harmonised"](visits)
    else:
        names = [names[seed % len(names)]]
    return [_row(task, made, visits, name) for name in names]


def _row(task: tuple[str, str, int], made: dict[str, Any], visits: pd.DataFrame, name: str) -> dict[str, Any]:
    model, law, seed = task
    if model == "deformation":
        fitted = made["deformation_model"](visits, name)
    else:
        fitted = made["volumes_model"](visits, name, "" if model == "harmonised" else " + scanner")
    found, unit = restricted_likelihood(fitted), made["SLOPES"][name] / 1000
    checked = statsmodels_fit(fitted)[DIFFERENCE][1] if seed % CHECKED == 0 else ""
    numbers = (found[SLOPE][0] / unit, found[DIFFERENCE][0] / unit, found[DIFFERENCE][1], checked)
    return dict(zip(COLUMNS, (model, law, seed, name, *numbers), strict=True))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """By model and law, in percent: tests with p below 0.05, with a 95 % interval, and what slopes came back.

    ``slope`` and ``spread``: mean and standard deviation of the controls' slope, true value 100;
    ``within``: cohorts in which it is within 5 of it; ``difference``: that of the groups, true value 50 or 0.
    """
    return pd.DataFrame(
        [
            {"model": m, "law": w, **_summary(part)}
            for (m, w), part in rows.groupby(["model", "law"], sort=False)
        ]
    )


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    low, high = stats.binomtest(int((rows["p"] < ALPHA).sum()), len(rows)).proportion_ci(method="wilson")
    return {
        "tests": len(rows),
        "significant": 100 * float((rows["p"] < ALPHA).mean()),
        "low": 100 * low,
        "high": 100 * high,
        "slope": 100 * float(rows["controls"].mean()),
        "spread": 100 * float(rows["controls"].std()),
        "within": 100 * float(((rows["controls"] - 1).abs() < 0.05).mean()),
        "difference": 100 * float(rows["difference"].mean()),
        "p_apart": float((rows["p"] - rows["p_statsmodels"]).abs().max()),
    }


def main() -> None:
    """Run what is missing, and print the summary."""
    parser = argparse.ArgumentParser(prog="benchmarks.mixed_models", description="mixed models of visits.csv")
    parser.add_argument("--out", type=Path, default=OUT, help=f"results, which are continued (default {OUT})")
    parser.add_argument("--cohorts", type=int, default=5000, help="simulated cohorts (default 5000)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["volumes", "deformation"])
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=["equal"])
    options = parser.parse_args()
    rows = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=list(COLUMNS))
    known = set(zip(rows["model"], rows["law"], rows["seed"], strict=True))
    every = [(m, w, s) for s in range(options.cohorts) for w in options.laws for m in options.models]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a", newline="") as file, ProcessPoolExecutor(options.jobs) as pool:
        writer = csv.DictWriter(file, COLUMNS)
        if not known:
            writer.writeheader()
        for found in pool.map(cohort, [task for task in every if task not in known]):
            writer.writerows(found)
            file.flush()
    print(summary(pd.read_csv(options.out)).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
