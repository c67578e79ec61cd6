"""ANTs SyN on the probability maps as channels. Runs in the environment ``ants``, which has no longimorph.

    python run_ants.py CASE.npz RESULT.npz SETTINGS

CASE.npz: source, target (C, i, j, k), spacing in mm. SETTINGS is JSON: metric, radius, iterations per level
(coarse to fine), grad_step, flow_sigma and total_sigma (voxels), hidden (indices of the classes that the
metric must not see). RESULT.npz: warped (C, i, j, k), the source's maps on the target; seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

import ants
import numpy as np

SEEN_BELOW = 0.05


def main() -> None:
    """Register the source to the target and warp every class."""
    case, settings = np.load(sys.argv[1]), json.loads(sys.argv[3])
    spacing = (float(case["spacing"]),) * 3
    fixed, moving = ([image(one, spacing) for one in case[name]] for name in ("target", "source"))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = register(fixed, moving, settings, f"{folder}/syn")
        pairs, warps = zip(fixed, moving, strict=True), found["fwdtransforms"]
        warped = [ants.apply_transforms(f, m, warps).numpy() for f, m in pairs]
    np.savez(sys.argv[2], warped=np.stack(warped), seconds=time.perf_counter() - began)


def image(values: np.ndarray, spacing: tuple[float, ...]) -> ants.ANTsImage:
    """A map (i, j, k) as an image with its spacing in mm."""
    return ants.from_numpy(np.ascontiguousarray(values, dtype=np.float32), spacing=spacing)


def register(
    fixed: list[ants.ANTsImage], moving: list[ants.ANTsImage], settings: dict[str, object], prefix: str
) -> dict[str, object]:
    """SyN only, from the identity, with equal weight on all classes that both maps contain."""
    metric, radius = settings["metric"], settings["radius"]
    masks = [visible(images, settings["hidden"]) for images in (fixed, moving)]
    channels = [(f, m) for f, m in zip(fixed, moving, strict=True) if min(f.max(), m.max()) > SEEN_BELOW]
    return ants.registration(
        *channels[0],
        type_of_transform="SyNOnly",
        initial_transform="Identity",
        outprefix=prefix,
        mask=masks[0],
        moving_mask=masks[1],
        syn_metric=metric,
        syn_sampling=radius,
        multivariate_extras=[(metric, f, m, 1, radius) for f, m in channels[1:]],
        reg_iterations=tuple(settings["iterations"]),
        grad_step=settings["grad_step"],
        flow_sigma=settings["flow_sigma"],
        total_sigma=settings["total_sigma"],
    )


def visible(images: list[ants.ANTsImage], hidden: list[int]) -> ants.ANTsImage | None:
    """Where the hidden classes have almost no probability; None if no class is hidden."""
    if not hidden:
        return None
    share = sum(images[index].numpy() for index in hidden)
    return images[0].new_image_like((share < SEEN_BELOW).astype(np.float32))


if __name__ == "__main__":
    main()
