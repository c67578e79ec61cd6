"""Dice of probability maps."""

import math

import torch

from longimorph.numerics.dice import dice


def test_of_zeros_and_ones_it_is_the_usual_dice():
    a, b = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]), torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 1]])
    assert dice(a, b).tolist() == [2 / 3, 4 / 5]


def test_a_class_that_only_the_floor_keeps_above_zero_is_absent():
    floor = torch.full((1, 100_000), 1e-9)
    both = torch.cat([floor, 1 - floor])
    found = dice(both, both)
    assert math.isnan(found[0]) and found[1] == 1
    appeared = both.clone()
    appeared[:, 0] = torch.tensor([1.0, 0.0])
    assert dice(both, appeared)[0] < 1e-3
