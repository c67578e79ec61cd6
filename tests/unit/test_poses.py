"""Poses agree with the motions that generated them, and treat all visits alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longimorph.geometry import poses as p

SEEDS = st.integers(0, 10_000)


def motion(rng, degrees=15.0, mm=20.0):
    return p.translation(rng.uniform(-mm, mm, 3)) @ p.rotation(rng.uniform(-degrees, degrees, 3))


def edges_of(truth, noise=0.0, rng=None):
    n = len(truth)
    result = []
    for a in range(n):
        for b in range(a + 1, n):
            matrix = truth[b] @ np.linalg.inv(truth[a])
            if noise:
                matrix = matrix @ motion(rng, noise, noise)
            result.append(p.Edge(a, b, matrix))
    return result


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_consistent_motions_are_explained_exactly(seed, n):
    rng = np.random.default_rng(seed)
    edges = edges_of([motion(rng) for _ in range(n)])
    poses = p.centred_on_mean(p.solve_poses(n, edges))
    for edge in edges:
        assert np.allclose(poses[edge.end], edge.matrix @ poses[edge.start], atol=1e-8)
    assert np.allclose(sum(pose[:3, 3] for pose in poses), 0, atol=1e-8)
    mean = sum(pose[:3, :3] for pose in poses)
    assert np.allclose(mean, mean.T, atol=1e-8)  # type: ignore[union-attr]  # nearest rotation to the sum is the identity


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 5))
@example(733, 3)
def test_the_order_of_the_visits_does_not_matter(seed, n):
    rng = np.random.default_rng(seed)
    edges = edges_of([motion(rng) for _ in range(n)], 1.0, rng)
    poses = p.centred_on_mean(p.solve_poses(n, edges))
    swapped = [p.Edge(n - 1 - e.end, n - 1 - e.start, np.linalg.inv(e.matrix)) for e in edges][::-1]
    again = p.centred_on_mean(p.solve_poses(n, swapped))[::-1]
    assert np.allclose(poses, again, atol=1e-8)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 1.0, 40.0]))
def test_the_derivative_of_a_residual_is_that_of_finite_differences(seed, degrees):
    rng = np.random.default_rng(seed)
    poses = [motion(rng) for _ in range(3)]
    edge = p.Edge(0, 2, poses[2] @ np.linalg.inv(poses[0]) @ motion(rng, degrees, 5.0))
    rows, _ = p._residual(3, poses, edge)
    h = 1e-6
    for column in range(18):
        ends = []
        for sign in (1, -1):
            step = np.zeros((3, 6))
            step.flat[column] = sign * h
            moved = [p._moved(pose, xi) for pose, xi in zip(poses, step, strict=True)]
            ends.append(p._residual(3, moved, edge)[1])
        assert np.allclose(-rows[:, column], (ends[0] - ends[1]) / (2 * h), atol=1e-5)


def test_noise_is_averaged_over_the_pairs():
    rng = np.random.default_rng(0)
    truth = p.centred_on_mean([motion(rng) for _ in range(6)])
    edges = edges_of(truth, 1.0, rng)
    poses = p.centred_on_mean(p.solve_poses(6, edges))
    points = rng.normal(size=(200, 3)) * 40
    wrong = [
        p.mean_displacement(np.linalg.inv(e.matrix) @ truth[e.end] @ np.linalg.inv(truth[e.start]), points)
        for e in edges
    ]
    left = [p.mean_displacement(np.linalg.inv(a) @ b, points) for a, b in zip(truth, poses, strict=True)]
    assert np.mean(left) < 0.6 * np.mean(wrong)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_halfway_is_symmetric_and_commutes_with_the_inverse(seed):
    rng = np.random.default_rng(seed)
    a, b = motion(rng), motion(rng)
    middle = p.halfway(a, b)
    assert np.allclose(middle, p.halfway(b, a), atol=1e-8)
    assert np.allclose(np.linalg.inv(middle), p.halfway(np.linalg.inv(a), np.linalg.inv(b)), atol=1e-8)
    assert np.allclose(middle @ np.linalg.inv(a), b @ np.linalg.inv(middle), atol=1e-8)


def test_two_visits_share_the_motion_evenly():
    turn = p.rotation([0, 0, 20.0])
    first, second = p.centred_on_mean(p.solve_poses(2, [p.Edge(0, 1, turn)]))
    assert np.isclose(p.rotation_deg(first), 10) and np.isclose(p.rotation_deg(second), 10)


def test_groups_of_visits():
    eye = np.eye(4)
    assert p.components(5, [p.Edge(1, 3, eye), p.Edge(3, 4, eye)]) == [[1, 3, 4], [0], [2]]
    with pytest.raises(ValueError, match="connect"):
        p.solve_poses(3, [p.Edge(0, 1, eye)])
