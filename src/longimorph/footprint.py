"""How much the numerics keep in memory, as numbers that the memory model needs as well.

Without torch, so that memory can be predicted where torch is not loaded.
"""

PAIRS_KEPT = 8
"""Number of curvature pairs that L-BFGS keeps."""

FEWEST_PLANES, THINNEST_SHARE, CARD_SLAB_BYTES = 2, 16, 32 << 20
"""Planes of the slabs in which a GPU traverses volumes: the minimum number, the share of the volume, and the
minimum bytes of a map: enough to keep a GPU busy for longer than the launch of a formula's next operation
takes.
"""

PAIR_PRICES_MAPS = 2
"""Maps that a registration with prices per pair of classes holds beyond one with a single share per voxel: a
copy of the start of its path. Counted: at most 1.5 during an evaluation, 2 during the attribution.
"""

FREE_MAPS = 2
"""Maps that a registration holds for each group of free pairs: the composition of their exchange, and in the
end the exchange itself. Counted for one group: 1 during an evaluation, 1.9 during the attribution.
"""

LADDERS = {
    "cuda": ("store", "checkpoint", "offload", "host", "nested"),
    "cpu": ("store", "checkpoint", "nested"),
}
"""Memory strategies from fastest to leanest, by the names in ``numerics.memory_strategies``."""

FINEST_MM = 1.0
"""Longest side of the parts into which voxels are divided for single lesions: the usual voxel size of their
segmentations, of which a coarser grid would lose the smallest."""
