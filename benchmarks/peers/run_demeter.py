"""demeter-metamorphosis on probability maps. Runs in the environment ``demeter``, which has no longimorph.

    python run_demeter.py CASE.npz RESULT.npz SETTINGS    a registration
    python run_demeter.py CASE.npz - SETTINGS             one cost and gradient per line of input

CASE.npz: source, target (C, i, j, k) on the simplex. SETTINGS is JSON: kernel (sigma in voxels), rho,
cost_cst, steps, iterations of L-BFGS, threads. RESULT.npz: final (C, i, j, k); deformation and reallocation
(C,) in voxels; seconds and error after each evaluation (mean absolute error of the probabilities).
In the second form each answer is a line of JSON, {"seconds": ...}.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

import numpy as np
import torch

PLENTY = 10_000


def main() -> None:
    """Read the case and run what the command line requests."""
    settings = json.loads(sys.argv[3])
    torch.set_num_threads(settings["threads"])
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr):
        case = np.load(sys.argv[1])
        shooting = problem(case["source"], case["target"], settings)
        if sys.argv[2] == "-":
            serve(shooting, answers)
        else:
            np.savez(sys.argv[2], **register(shooting, case["target"], settings))


def problem(source: np.ndarray, target: np.ndarray, settings: dict[str, float]) -> torch.nn.Module:
    """Its simplex class, as its function ``simplex_metamorphosis`` sets it up."""
    import demeter.utils.reproducing_kernels as kernels
    from demeter.metamorphosis import simplex

    torch.set_flush_denormal(True)
    integrator = simplex.Simplex_sqrt_Metamorphosis_integrator(
        rho=settings["rho"],
        kernelOperator=kernels.GaussianRKHS((float(settings["kernel"]),) * 3),
        n_step=settings["steps"],
        dx_convention="pixel",
    )
    maps = [torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32))[None] for one in (source, target)]
    return simplex.Simplex_sqrt_Shooting(
        *maps, integrator, cost_cst=settings["cost_cst"], optimizer_method="LBFGS_torch"
    )


def serve(shooting: torch.nn.Module, answers: object) -> None:
    """One cost and gradient, timed, for each line of input."""
    torch.manual_seed(0)
    momentum = (0.01 * torch.randn_like(shooting.source)).requires_grad_()
    for _ in sys.stdin:
        momentum.grad = None
        began = time.perf_counter()
        shooting.cost(momentum).backward()
        answers.write(json.dumps({"seconds": time.perf_counter() - began}) + "\n")
        answers.flush()


def register(shooting: torch.nn.Module, target: np.ndarray, settings: dict[str, float]) -> dict[str, object]:
    """Its L-BFGS from zero, for the given number of iterations, without its cap of 30 evaluations.

    The time is that of costs and gradients and of the optimiser; the error is measured outside of it.
    """
    wanted, trace, outside = torch.from_numpy(target), [], 0.0
    shooting.parameter = torch.zeros_like(shooting.source).requires_grad_()
    shooting._initialize_LBFGS_(1.0, max_iter=settings["iterations"])
    shooting.optimizer.param_groups[0]["max_eval"] = PLENTY
    inner, began = shooting.closure, time.perf_counter()

    def closure() -> torch.Tensor:
        nonlocal outside
        value = inner()
        now = time.perf_counter()
        error = float((shooting.mp.image.detach()[0] ** 2 - wanted).abs().mean())
        trace.append((now - began - outside, error))
        outside += time.perf_counter() - now
        return value

    shooting.optimizer.step(closure)
    total = time.perf_counter() - began - outside
    final, deformation, reallocation = split(shooting, shooting.parameter.detach())
    trace.append((total, float((final - wanted).abs().mean())))
    parts = {"deformation": deformation.numpy(), "reallocation": reallocation.numpy()}
    return {"final": final.numpy(), "trace": np.array(trace), "seconds": total, **parts}


def split(
    shooting: torch.nn.Module, momentum: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The final map (C, i, j, k), and deformation and reallocation per class (C,) in voxels.

    Each of its steps transports the map and then adds the reallocation; the map transported and put back on
    the sphere is what lies between, so that both parts add up exactly to the change.
    """
    import demeter.utils.torchbox as torchbox

    path = shooting.mp
    path.forward(shooting.source, momentum, save=True)
    parts = torch.zeros(2, shooting.source.shape[1], dtype=torch.float64)
    before = shooting.source.double()
    for field, after in zip(path.field_stock, path.image_stock, strict=True):
        moved = torchbox.imgDeform(before, path.id_grid - field[None] / path.n_step, dx_convention="pixel")
        moved = moved / moved.square().sum(1, keepdim=True).sqrt()
        after = after[None].double()
        for part, (start, end) in zip(parts, ((before, moved), (moved, after)), strict=True):
            part += (end.square() - start.square()).sum((0, 2, 3, 4))
        before = after
    return before[0].square().float(), parts[0], parts[1]


if __name__ == "__main__":
    main()
