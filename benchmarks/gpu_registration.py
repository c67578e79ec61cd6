"""Registrations of a pair with a small change at full size: within 8 GiB, and with the whole GPU."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch

from benchmarks.gpu_card import GIB, Meter, Peak, Stopwatch, free, limited
from benchmarks.gpu_memory import figures_of, predicted
from benchmarks.gpu_phases import Phases
from benchmarks.gpu_problems import DEFAULTS, Maps, anatomy
from benchmarks.gpu_record import OutOfTime, Section
from benchmarks.gpu_sizes import CardSizes, cross
from longimorph.memory import budget
from longimorph.memory import model as memory_model
from longimorph.numerics.memory_strategies import BY_NAME, Ladder, Strategy, ladder
from longimorph.numerics.optimise import Iteration
from longimorph.numerics.register import Registration, register
from longimorph.numerics.run import Run

MOST_SECONDS, MOST_BYTES = 20, 8 * GIB
ANYTHING = 1 << 50
PAIR = "{shape}, {spacing:g} mm: a head whose ventricles widen and that gets a lesion; a study's settings."


@dataclass
class _Heard:
    """Progress of a registration; it is stopped when the section's time is over."""

    section: Section
    iterations: dict[float, int] = field(default_factory=dict)

    def __call__(self, spacing: float, iteration: Iteration) -> None:
        self.iterations[spacing] = self.iterations.get(spacing, 0) + (iteration.number > 0)
        self.section.check()

    @property
    def finest(self) -> int:
        """Iterations on the finest level so far."""
        return self.iterations[min(self.iterations)] if self.iterations else 0

    def __str__(self) -> str:
        return ", ".join(f"{n} at {h:g} mm" for h, n in self.iterations.items()) or "none"


def _pair(section: Section, sizes: CardSizes) -> Maps:
    section.write(PAIR.format(shape=cross(sizes.full), spacing=sizes.spacing))
    return anatomy(sizes.full, sizes.spacing)


def _chosen(section: Section, pair: Maps, there: int) -> Ladder:
    """The GPU's ladder from the strategy that fits; the report names it and every step down."""
    names = [rung.name for rung in ladder("cuda")]
    size = budget.size_of(pair[0], DEFAULTS.steps)
    choice = memory_model.choose(size, there, names, "cuda")
    section.write(f"The memory model chooses {choice.reason}; it reckons with N = {size.steps}.")

    def stepped(left: Strategy, now: Strategy) -> None:
        section.write(f"Memory ran out with `{left.name}`; it went on with `{now.name}`.")

    return Ladder([BY_NAME[name] for name in names[names.index(choice.strategy) :]], stepped)


def _registered(
    pair: Maps, sizes: CardSizes, heard: _Heard, used: Ladder, device: torch.device
) -> Registration | None:
    """Register maps that are on the host, as in a study; None if the registration was cut off."""
    settings = replace(DEFAULTS, max_evaluations=sizes.most_evaluations)
    with suppress(OutOfTime):
        return register(*pair, (sizes.spacing,) * 3, settings, Run(heard, used, device=device))
    return None


def within_8_gib(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """A registration limited to 8 GiB, with the strategy that the model predicts to fit."""
    pair, heard = _pair(section, sizes), _Heard(section)
    with limited(device, MOST_BYTES):
        used = _chosen(section, pair, free(device, MOST_BYTES))
        meter, watch = Meter(device), Stopwatch(device)
        found = _registered(pair, sizes, heard, used, device)
        spent, peak = watch.seconds(), meter.peak()
    told = predicted(used.current.name, pair[0], found.steps if found else None, heard.finest)
    ended = f"finished, N = {found.steps}" if found else "**cut off**"
    section.table(
        "ended",
        "s",
        "with",
        "iterations",
        "device, GiB",
        "predicted, GiB",
        "reserved, GiB",
        "pinned, GiB",
        "",
    )
    cells = (ended, f"{spent:.1f}", f"`{used.current.name}`", str(heard))
    section.row(
        (*cells, *_peaks(peak, told.device), _verdict(found, peak)),
        {**figures_of("within 8 GiB", peak, told), ("within 8 GiB: registration", "s"): spent},
    )
    section.end_table()


def _peaks(peak: Peak | None, told: int) -> list[str]:
    foretold_there = f"{told / GIB:.2f}"
    if peak is None:
        return ["", foretold_there, "", ""]
    pinned = "not counted" if peak.pinned is None else f"{peak.pinned / GIB:.2f}"
    return [f"{peak.allocated / GIB:.2f}", foretold_there, f"{peak.reserved / GIB:.2f}", pinned]


def _verdict(found: Registration | None, peak: Peak | None) -> str:
    """Only a registration that has ended shows that it fits."""
    if found is None or peak is None:
        return ""
    return "reached" if peak.reserved <= MOST_BYTES else "**missed**"


def gentle(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """One whole registration with seconds per phase, written as the phases end."""
    pair, heard = _pair(section, sizes), _Heard(section)
    used = _chosen(section, pair, free(device, ANYTHING))
    section.write(
        "Seconds as each phase ends, without those of phases within it; a level is named by its spacing."
    )
    section.table("level, mm", "phase", "s")

    def ended(level: str, phase: str, spent: float) -> None:
        where = f", {level} mm" if level else ""
        section.row((level, phase, f"{spent:.2f}"), {(f"{phase}{where}", "s"): spent})

    phases, watch = Phases(device, ended), Stopwatch(device)
    with phases.watched():
        found = _registered(pair, sizes, heard, used, device)
    total = watch.seconds()
    section.end_table()
    _totals(section, phases)
    _summary(section, found, heard, used, total)
    if phases.missing:
        section.write(
            f"Not timed, since their functions have other names: {', '.join(sorted(phases.missing))}."
        )


def _totals(section: Section, phases: Phases) -> None:
    """Totals of each phase that has ended, or was running when the registration was cut off."""
    section.table("level, mm", "phase", "calls", "s in all", "s per call")
    for (level, phase), spent in phases.seconds.items():
        calls, where = phases.calls[level, phase], f", {level} mm" if level else ""
        cells = (level, phase, f"{calls}", f"{spent:.2f}", f"{spent / calls:.3f}")
        section.row(
            cells,
            {
                (f"{phase}{where}: in all", "s"): spent,
                (f"{phase}{where}: calls", "calls"): float(calls),
                (f"{phase}{where}: each", "s"): spent / calls,
            },
        )
    section.end_table()


def _summary(section: Section, found: Registration | None, heard: _Heard, used: Ladder, total: float) -> None:
    section.add({("registration" if found else "registration, cut off", "s"): total})
    section.add({(f"iterations, {h:g} mm", "iterations"): float(n) for h, n in heard.iterations.items()})
    if found is None:
        target = f"(target: {MOST_SECONDS}, **missed**)"
        section.write(f"**Cut off** after {total:.1f} s {target}; iterations: {heard}.")
        return
    share = 100 * found.mismatch_after / found.mismatch_before
    verdict = "reached" if total <= MOST_SECONDS else "**missed**"
    section.write(
        f"**{total:.1f} s** (target: {MOST_SECONDS}, {verdict}), N = {found.steps}, iterations: {heard}.\n"
        f"Mismatch {share:.1f} % of the first, drift of H {100 * found.drift:.2f} %, with "
        f"`{used.current.name}`. {found.reason}"
    )
