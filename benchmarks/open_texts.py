"""The texts of the page about open questions."""

HEAD = """\
# Open questions: did it move, or did it change class?

Made on {date} by `make bench-open` ({processor}, one thread per run; {runs} of {planned} runs, {hours} hours
in all) on {anatomies}.

A mass that grows by 8 mL may have displaced 8 mL of tissue or infiltrated it; the volumes at the two visits
are the same. A control matrix of numbers gives the answer that was put into it. With `preset:open` the data
decide, from what moved around the mass. Here the truth is known: a share of the growth (0, 25, 50, 75, 100
%) takes over tissue in place, the rest displaces tissue that keeps its volume, and ventricles and the fluid
around the brain give way. The mass lies deep in white matter (10 mL that grow by 8), beside a ventricle (8
mL that grow by 6) or below the cortex (15 mL that grow by 9). The other lesions are new (2, 15 and 30 mL),
resorbing or unchanged while the ventricles widen beside them. One setting serves them all; nothing else
than the preset differs from the defaults. *Noisy* labels: 5 % of the boundary voxels flipped at each visit.
"""

SUMMARY = """\
*error*: gross attribution error over all classes, in % of the true change, mean and worst. *alone*: the
error of the control matrix alone, without registration, where it decides. *forbidden*: the most that was
reallocated between classes whose entry is 0.999 or more, in % of the true change. R² and slope: the
straight line of the measured against the true infiltrated share of the growth. *range holds*: how often the
true deformation of the lesion lies between `deformation_low_mm3` and `deformation_high_mm3`; *width*: the
median width of that range. `lesion` and `growth` are the presets that decide by themselves.

"""

CASES = """\
The number in a mass's name is the infiltrated share in %. Deformation and range are those of the lesion, in
mL; *unexplained* is in % of the true change.

"""
