"""Running means, t and false-discovery control against SciPy, known values and simulated null maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from longimorph.maps.group import (
    FEWEST,
    LEAST_CHANGE,
    Running,
    Smoother,
    least_patients,
    p_of_t,
    q_of_p,
    sampled,
)


def running_over(values: np.ndarray, seen: np.ndarray) -> Running:
    """The state after patients with ``values`` (patients, maps, voxels), each ``seen`` (patients, voxels)."""
    running = Running(*values.shape[1:])
    for own, where in zip(values, seen, strict=True):
        running.begin(where)
        for index, one in enumerate(own):
            running.add(index, one)
    return running


def test_means_and_t_are_those_of_all_patients_at_once() -> None:
    chance = np.random.default_rng(0)
    values = chance.normal(0.3, 1, (9, 2, 50)) + 1000 * np.arange(2)[:, None]
    running = running_over(values, np.ones((9, 50), dtype=bool))
    for index in range(2):
        t, p = stats.ttest_1samp(values[:, index], 0)
        assert np.allclose(running.mean(index), values[:, index].mean(0), rtol=1e-12)
        assert np.allclose(running.t(index), t, rtol=1e-8)
        assert np.allclose(p_of_t(running.t(index), running.count), p, rtol=1e-8, atol=0)
        assert np.allclose(running.size(index), np.sqrt((values[:, index] ** 2).mean(0)))


def test_a_patient_counts_only_where_it_is_seen() -> None:
    chance = np.random.default_rng(1)
    values, seen = chance.normal(1, 1, (8, 1, 40)), chance.random((8, 40)) < 0.5
    values[:, 0][~seen] = np.nan
    running = running_over(values, seen)
    assert (running.count == seen.sum(0)).all()
    for voxel in range(40):
        own = values[seen[:, voxel], 0, voxel]
        if len(own) >= FEWEST:
            assert running.t(0)[voxel] == pytest.approx(stats.ttest_1samp(own, 0).statistic)
        else:
            assert np.isnan(running.t(0)[voxel])
        assert np.isnan(running.mean(0)[voxel]) == (len(own) == 0)


def test_a_change_that_is_constant_or_negligible_is_not_tested() -> None:
    tiny = LEAST_CHANGE * np.array([0.5, 0.6, 0.7])
    values = np.stack([tiny, [0.1, 0.1, 0.1], [0, 0, 0], [0.1, 0.2, 0.3]], axis=1)[:, None]
    t = running_over(values, np.ones((3, 4), dtype=bool)).t(0)
    assert np.isnan(t[:3]).all() and t[3] == pytest.approx(2 * np.sqrt(3))


def test_q_has_the_values_of_the_paper() -> None:
    """Benjamini and Hochberg 1995, section 3: of these 15 p, exactly four are discoveries at 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
         0.6528, 0.7590, 1.0]  # fmt: skip
    q = q_of_p(np.array([*p[:7], np.nan, *p[7:]]))
    assert np.isnan(q[7]) and (q[np.isfinite(q)] < 0.05).sum() == 4
    assert q[0] == pytest.approx(0.0015) and q[3] == pytest.approx(0.0095 * 15 / 4)
    assert np.isnan(q_of_p(np.full(3, np.nan))).all()


def test_of_smooth_noise_few_maps_have_any_discovery() -> None:
    """The rate of maps with a false discovery is that of false discoveries, if nothing is true."""
    chance, runs, shape = np.random.default_rng(7), 200, (12, 12, 12)
    found = 0
    for _ in range(runs):
        noise = chance.normal(size=(10, *shape))
        smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 1.5)).reshape(10, 1, -1)
        running = running_over(smooth, np.ones((10, smooth.shape[-1]), dtype=bool))
        q = q_of_p(p_of_t(running.t(0), running.count))
        found += bool((q < 0.05).any())
    assert 0 < found / runs < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_a_voxel_needs_half_of_the_patients() -> None:
    assert [least_patients(n) for n in (0, 1, 2, 3, 4, 9)] == [1, 1, 1, 2, 2, 5]


def test_smoothing_does_not_take_from_what_is_not_seen() -> None:
    seen = np.zeros((9, 9, 9), dtype=bool)
    seen[2:7, 2:7, 2:7] = True
    smooth = Smoother(seen, (1.5, 1.0, 2.0))(np.where(seen, 3.0, 1e6))
    assert np.allclose(smooth[seen], 3) and (smooth[~seen] == 0).all()
    spot = np.zeros((9, 9, 9))
    spot[4, 4, 4] = 1
    assert np.array_equal(Smoother(seen, (0, 0, 0))(spot), spot)


def test_samples_are_trilinear_and_0_outside() -> None:
    volume = np.arange(24.0).reshape(2, 3, 4)
    points = np.array([[0.5, 1, 5], [0, 2, 5], [1.25, 3, 5]])
    assert sampled(volume, points).tolist() == [7.25, 23, 0]
