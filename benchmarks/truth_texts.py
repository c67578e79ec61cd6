"""Texts around the tables of the page on known truth."""

HEAD = """\
# Attribution against known truth

`make bench-truth`, {date}: {runs} runs, {hours} h of registration, on {processor}, one thread per run,
Python {python}, torch {torch}. Anatomies: {anatomies}. Times are those of a machine that also did other
work.

Each case takes a labelled brain at 1 mm and lets tissue flow, turn into another class in place, or both;
the flow is a diffeomorphism, and what it does to every class is known (`longimorph.demo.course`). The
box averages of both visits on the registration grid are prepared as the pipeline does and registered
with the default settings and the case's preset. Error: half the sum over classes of |measured - true|
deformation, and the same of reallocation, in % of the gross true change. Figures are means over the
anatomies, the worst in brackets; every run is in the CSV file beside this page.
"""
CASES = """\
## The cases

| case | what happens |
| --- | --- |
| null, rigid | nothing; a brain in two poses on two voxel grids |
| ventricles10, 25, 50 | ventricles widen by so many %, tissue around them gives way: all deformation |
| mass | a mass grows from 10 to 16 mL and pushes the tissue around it: all deformation |
| oedema2, 15, 30 | so many mL of white matter become oedema: all reallocation |
| necrosis | in an enhancing lesion of 15 mL the necrotic core grows from 3 to 8 mL: all reallocation |
| both | ventricles widen by 37 % beside 15 mL of white matter that become oedema |
| pushed | ventricles widen by 50 % and push 15 mL of oedema that stays oedema: all deformation |
| carried | ventricles widen by 50 % and push 10 mL of oedema beside them that stays oedema: all deformation |
| resorbing | ventricles widen by 37 % while an oedema of 15 mL shrinks to 8 mL |
| periventricular25, 50 | ventricles widen by so many %; four oedemas along them grow by 10 mL |

In the last four an oedema that exists already is pushed about. A control matrix alone takes what it leaves
and where it arrives for reallocation; a registration can see that it moved.

"""
COLUMNS = """\
Deformation, reallocation: the two parts of the error. Unexplained: change that the model leaves. Control
alone: the error if nothing were registered and the control matrix split the difference of the two maps,
voxel by voxel; what it does not already say is what the registration is for. Closed: the error if the
matrix split only what the registration leaves unexplained. Maps: by how much the change of the maps
themselves misses the truth.

"""
CARRIED = ("pushed", "carried", "resorbing", "periventricular25", "periventricular50")
"""Cases in which a lesion that exists already is pushed about."""
OTHERS = """\
The same cases with a preset that does not suit them, or suits them as well: how much the choice of the
control matrix decides. These runs count for no target but drift, folding and inverse consistency. A new
oedema with `growth` is the one case in which the warp folds, as it is sampled: what little oedema the first
visit's maps hold expands many times over. The map itself does not fold ([decisions](../decisions.md)).

"""
NOISE = """\
Each visit's labels are made anew and 5 % of their boundary voxels take the class of a neighbour,
independently at each visit; the truth is that of the clean brain. Where nothing truly changes, what is
measured is given in % of the brain's volume.

"""
SWAP = """\
The second visit as source, the first as target. Magnitude: by how much the gross deformation or the
gross reallocation differs, whichever differs more. Same sign: classes that grow, or shrink, both ways,
though by more than 5 % of the change. The last column adds both results, which should cancel, in % of
the change.

"""
GRIDS = """\
Gross difference of the results at 2 mm and at 4 mm in % of the gross change at 2 mm.

"""
RIGID = """\
One brain in two random poses and on two voxel grids, through alignment, maps and registration: gross
deformation and reallocation that are measured, in % of the brain's volume.

"""
UNCERTAINTY = """\
Every class's deformation and reallocation of every run: how many lie within the uncertainty that the
tables give beside them, and within twice as much. Largest miss: how far beyond its uncertainty a number
lies, in % of the gross true change. The uncertainty speaks of the split, given the maps and the control
matrix: errors of the labels are beyond it, and so is a matrix that is wrong of the tissue at hand.

"""
