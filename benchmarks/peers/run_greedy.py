"""greedy on the probability maps as channels. Runs in the environment ``greedy``, which has no longimorph.

    python run_greedy.py CASE.npz RESULT.npz SETTINGS

CASE.npz: source, target (C, i, j, k), spacing in mm. SETTINGS is JSON: metric, iterations per level (coarse
to fine, as in 100x50x20) and sigmas (of the update and of the whole field), as on greedy's command line.
RESULT.npz: warped (C, i, j, k), the source's maps on the target; seconds.
"""

from __future__ import annotations

import io
import json
import sys
import time

import numpy as np
import SimpleITK as sitk
from picsl_greedy import Greedy3D


def main() -> None:
    """Register the source to the target and warp every class."""
    case, settings = np.load(sys.argv[1]), json.loads(sys.argv[3])
    spacing = (float(case["spacing"]),) * 3
    maps = {
        f"{name}{index}": image(one, spacing)
        for name in ("target", "source")
        for index, one in enumerate(case[name])
    }
    count, threads = len(case["source"]), settings["threads"]
    began = time.perf_counter()
    greedy, log = Greedy3D(), io.StringIO()
    channels = " ".join(f"-i target{i} source{i}" for i in range(count))
    options = "-m {metric} -n {iterations} -s {sigmas}".format(**settings)
    greedy.execute(f"-d 3 -threads {threads} {options} {channels} -o warp", log, log, warp=None, **maps)
    moved = " ".join(f"-rm source{i} warped{i}" for i in range(count))
    outputs = {f"warped{i}": None for i in range(count)}
    greedy.execute(f"-d 3 -threads {threads} -rf target0 {moved} -r warp", log, log, **outputs)
    warped = [sitk.GetArrayFromImage(greedy[f"warped{i}"]).transpose() for i in range(count)]
    np.savez(sys.argv[2], warped=np.stack(warped), seconds=time.perf_counter() - began)


def image(values: np.ndarray, spacing: tuple[float, ...]) -> sitk.Image:
    """A map (i, j, k) as an image with its spacing in mm."""
    result = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(), dtype=np.float32))
    result.SetSpacing(spacing)
    return result


if __name__ == "__main__":
    main()
