"""Matrix products keep full precision, whatever the settings of the process or its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from small_problems import random_maps, settings
from torch.utils._python_dispatch import TorchDispatchMode

from longimorph.numerics.precision import full_precision
from longimorph.numerics.register import register

MANTISSA = 13
"""Bits of a float32 that TF32 does without."""


def tf32_is_on() -> bool:
    matmul = torch.backends.cuda.matmul
    return matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32


def as_tf32(a: torch.Tensor) -> torch.Tensor:
    """Rounded to the 10 bits of a TF32 number."""
    bits = a.contiguous().view(torch.int32)
    return ((bits + (1 << (MANTISSA - 1))) & ~((1 << MANTISSA) - 1)).view(torch.float32).view(a.shape)


class Card(TorchDispatchMode):
    """Multiplies as a card does: in TF32 where PyTorch says that this is allowed."""

    products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.split(".")[0] in ("mm", "bmm"):
            self.products += 1
            if tf32_is_on():
                args = [as_tf32(a) if isinstance(a, torch.Tensor) else a for a in args]
        return func(*args, **(kwargs or {}))


def momentum() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    source, other = (random_maps(generator, 3, (10, 9, 8)).float() for _ in range(2))
    control = 0.05 + 0.9 * torch.rand(3, 3, generator=generator)
    chosen = settings(kernel_mm=(2.0,), amplitude_mm=4.0, steps=4, max_evaluations=4)
    with Card() as card:
        found = register(source, 0.7 * source + 0.3 * other, control, (1.0, 1.0, 1.0), chosen)
    assert card.products > 100
    return found.momentum


def set_high() -> None:
    torch.set_float32_matmul_precision("high")


def set_tf32_by_the_newer_name() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


@pytest.fixture
def restored():
    yield
    torch.set_float32_matmul_precision("highest")


WAYS = [set_high] + (
    [set_tf32_by_the_newer_name] if hasattr(torch.backends.cuda.matmul, "fp32_precision") else []
)


@pytest.mark.parametrize("ask", WAYS)
def test_a_registration_is_the_same_where_tf32_was_asked_for(ask, restored):
    expected = momentum()
    ask()
    assert tf32_is_on()
    assert torch.equal(momentum(), expected)
    assert tf32_is_on(), "what the process had set is set again"


def test_the_emulation_would_show_tf32(restored):
    a = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    with Card():
        exact = a @ a.T
        set_high()
        coarse = a @ a.T
    error = float((coarse - exact).norm() / exact.norm())
    assert 1e-6 < error < 1e-3
    assert float((as_tf32(a) - a).abs().max()) < 2.0**-11


@pytest.mark.parametrize("ask", WAYS)
def test_an_error_within_restores_too(ask, restored):
    ask()
    with pytest.raises(KeyError), full_precision():
        assert not tf32_is_on()
        raise KeyError
    assert tf32_is_on()


def test_the_environment_variable_is_overruled():
    code = (
        "import torch; from longimorph.numerics.precision import full_precision\n"
        "m = torch.backends.cuda.matmul\n"
        "before = m.allow_tf32\n"
        "with full_precision(): within = m.allow_tf32\n"
        "print(before, within, m.allow_tf32)"
    )
    environment = {**os.environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["True", "False", "True"], run.stderr
