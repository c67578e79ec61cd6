"""Figure of a cohort's memory: predicted against observed peaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from longimorph.report.figures import save
from longimorph.tables.memory import read_memory_rows
from longimorph.text import counted

BAND = 0.1
_COLORS = {
    "store": "#1b7837",
    "checkpoint": "#2166ac",
    "offload": "#762a83",
    "host": "#b35806",
    "nested": "#b2182b",
}
_PLACES = {"device": "GPU: tensors", "host": "Host: the whole process"}


def memory_figure(table: Path, out: Path) -> None:
    """Draw a cohort's ``memory.csv`` as PNG ``out``."""
    save(draw(table), out)


def draw(table: Path) -> Figure:
    """Draw a cohort's ``memory.csv``: a panel for GPUs if there are any, and one for hosts."""
    rows = read_memory_rows(table)
    known = {place: _known(rows, place) for place in _PLACES}
    shown = [place for place in _PLACES if len(known[place])] or ["host"]
    figure = Figure(figsize=(6.2 * len(shown), 6.6), dpi=120, facecolor="white", layout="constrained")
    for number, place in enumerate(shown, 1):
        _panel(figure.add_subplot(1, len(shown), number), known[place], place)
    shares = f"{len(known['host'])} of {counted(len(rows), 'pair')}"
    text = f"{shares}; grey: within {100 * BAND:.0f} % of the prediction"
    figure.suptitle("Memory of the registrations", fontsize=14, weight="bold")
    figure.supxlabel(text, fontsize=10, color="#404040")
    return figure


def _known(rows: pd.DataFrame, place: str) -> pd.DataFrame:
    """The rows with both numbers for a place, in GB, as ``predicted`` and ``observed``."""
    names = {f"{kind}_{place}_bytes": kind for kind in ("predicted", "observed")}
    found = rows.dropna(subset=list(names)).rename(columns=names)
    return found.assign(predicted=found["predicted"] / 1e9, observed=found["observed"] / 1e9)


def _panel(panel: Axes, rows: pd.DataFrame, place: str) -> None:
    """Plot observed against predicted peaks, with the identity and a band around it."""
    panel.set_title(_PLACES[place], fontsize=11)
    panel.set_xlabel("predicted peak, GB")
    panel.set_ylabel("observed peak, GB")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    if rows.empty:
        panel.text(0.5, 0.5, "no measurement", ha="center", transform=panel.transAxes)
        return
    numbers = rows[["predicted", "observed"]].to_numpy()
    low, high = 0.9 * numbers.min(), 1.1 * numbers.max()
    if high > 8 * low:
        _logarithmic(panel)
    line = np.geomspace(low, high)
    panel.fill_between(line, (1 - BAND) * line, (1 + BAND) * line, color="#e8e8e8", linewidth=0, zorder=0)
    panel.plot(line, line, color="#808080", linewidth=0.9, zorder=1, label="observed = predicted")
    _points(panel, rows)
    panel.set_xlim(low, high)
    panel.set_ylim(low, high)
    panel.legend(loc="upper left", frameon=False, fontsize=9)


def _logarithmic(panel: Axes) -> None:
    """Make both axes logarithmic, with plain numbers at 1, 2 and 5."""
    panel.set_xscale("log")
    panel.set_yscale("log")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _points(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw a colour per strategy; circles for CPUs, squares for GPUs; hollow if a run stepped down."""
    stepped = (rows["strategy"] != rows["strategy_begun"]).rename("stepped")
    for (device, strategy, down), group in rows.groupby(["device", "strategy", stepped]):
        color = _COLORS.get(str(strategy), "#404040")
        panel.scatter(
            group["predicted"],
            group["observed"],
            s=24,
            marker="o" if device == "cpu" else "s",
            facecolors="none" if down else color,
            edgecolors=color,
            linewidths=0.9,
            alpha=0.75,
            label=f"{device}, {strategy}{', stepped down' if down else ''} ({len(group)})",
        )
