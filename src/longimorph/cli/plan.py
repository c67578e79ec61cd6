"""What a run will do, told before it begins."""

from __future__ import annotations

from longimorph.cohort.pairs import Pair
from longimorph.cohort.study import Study
from longimorph.jobs.needs import Needs
from longimorph.jobs.progress import aligned

_HEAD = ["patient", "from", "to", "days", "voxels", "classes", "map MB", "memory MB", "minutes"]


def describe(study: Study) -> str:
    """Return a table of the pairs, the patients left out, and what the numbers mean.

    Voxels are those of the registration grid, at most (the box of the brain is found later); a map holds all
    classes in float32; memory and minutes are the limits that a job is given, on one processor thread.
    """
    needs = Needs(study)
    pairs = study.plan.pairs
    lines = aligned([_HEAD, *(_row(needs, pair) for pair in pairs)])
    lines += [f"{out.patient} is left out: it {out.reason}" for out in study.plan.left_out]
    minutes = sum(needs.pair_minutes(pair) for pair in pairs)
    total = f"{len(pairs)} pairs; at most {minutes} minutes one after the other on one processor thread."
    if pairs:
        total += f" The largest needs {max(needs.pair_mb(pair) for pair in pairs)} MB of memory."
    return "\n".join([*lines, "", total])


def _row(needs: Needs, pair: Pair) -> list[str]:
    size = needs.size(pair)
    names = [pair.patient, pair.source.timepoint, pair.target.timepoint, f"{pair.days:g}"]
    numbers = [str(size.voxels), str(size.classes), f"{size.map_mb:.1f}"]
    return [*names, *numbers, str(needs.pair_mb(pair)), str(needs.pair_minutes(pair))]
