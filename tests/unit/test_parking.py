"""Copies between device and host: their order, the size of locked memory, and their number."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from small_problems import random_maps, random_problem, settings

from longimorph.memory import budget
from longimorph.memory.model import model
from longimorph.numerics import lanes, memory_strategies, parking, passes
from longimorph.numerics.lanes import Lane
from longimorph.numerics.memory_strategies import BY_NAME, Ladder
from longimorph.numerics.objective import evaluate
from longimorph.numerics.parking import Parked, park, park_beside
from longimorph.numerics.pinned import Pool
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.numerics.solve import MapPair
from longimorph.numerics.sphere import tangent
from longimorph.numerics.warps import integrate


class LazyLane(Lane):
    """A card's second stream at its slowest: a copy is made when something waits for it, and not before.

    Host memory comes from a pool. ``log`` names what happens; ``outwards`` and ``inwards`` count copies.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool, self.queue, self.log = pool, [], []  # type: ignore[var-annotated]
        self.outwards = self.inwards = 0

    def room(self, like):
        block = self.pool.take(like.numel() * like.element_size())
        return block.memory.view(like.dtype).view(like.shape), block

    def copy(self, into, source):
        end = object()
        outwards = parking.parking()
        self.outwards += outwards
        self.inwards += not outwards
        self.queue.append((end, into, source, "out" if outwards else "in"))
        self.log.append(f"begin {self.queue[-1][3]}")
        return end

    def join(self, end):
        while any(queued[0] is end for queued in self.queue):
            _, into, source, way = self.queue.pop(0)
            into.copy_(source)
            self.log.append(f"end {way}")

    finish = join


@pytest.fixture
def locked():
    """Sizes of the memory that is locked, by address."""
    return {}


@pytest.fixture
def pool(locked):
    def lock(address, size):
        locked[address] = size
        return True

    return Pool(lock, lambda address: locked.pop(address))


@pytest.fixture
def lazy(pool, monkeypatch):
    slow = LazyLane(pool)
    monkeypatch.setattr(parking, "lane", lambda _: slow)
    return slow


def test_a_processor_copies_at_once():
    assert lanes.lane(torch.device("cpu")) is lanes.AT_ONCE
    tensor = torch.rand(3, 4)
    kept = park(tensor)
    expected = tensor.clone()
    tensor.zero_()
    assert torch.equal(kept.fetch(), expected) and torch.equal(kept.cpu(), expected)
    assert kept.fetch() is not kept.fetch()


def test_the_tensor_may_be_written_over_when_parked(lazy):
    tensor = torch.rand(3, 4)
    expected = tensor.clone()
    kept = park(tensor)
    tensor.zero_()
    assert torch.equal(kept.fetch(), expected)
    with park_beside(tensor.copy_(expected)) as (beside,):
        assert lazy.queue, "the copy goes on beside what is done within"
    tensor.zero_()
    assert torch.equal(beside.fetch(), expected)


def test_what_is_brought_back_early_is_waited_for_when_it_is_used(lazy):
    tensor = torch.rand(5)
    kept = park(tensor)
    kept.prefetch()
    kept.prefetch()
    assert lazy.inwards == 1 and lazy.log[-1] == "begin in"
    assert torch.equal(kept.fetch(), tensor) and lazy.log[-1] == "end in"
    assert torch.equal(kept.fetch(), tensor) and lazy.inwards == 2


def test_what_is_never_used_is_waited_for_too(lazy):
    """Its memory would else be given away while the copy writes to it."""
    kept = park(torch.rand(5))
    kept.prefetch()
    del kept
    gc.collect()
    assert not lazy.queue


def test_the_host_may_read_only_what_has_arrived(lazy):
    tensor = torch.rand(5)
    kept = Parked(tensor)
    assert lazy.queue
    assert torch.equal(kept.cpu(), tensor) and not lazy.queue


def test_locked_memory_is_exact_and_used_again(pool, locked):
    first, second = pool.take(1000), pool.take(1000)
    assert list(locked.values()) == [1000, 1000] and pool.bytes == pool.peak == 2000
    address = first.memory.data_ptr()
    del first
    third = pool.take(1000)
    assert third.memory.data_ptr() == address and pool.bytes == 2000
    del second, third
    other = pool.take(300)
    assert sorted(locked.values()) == [300, 1000] and pool.bytes == 1300 and pool.peak == 2000
    del other
    pool.trim()
    assert not locked and pool.bytes == 0
    pool.reset_peak()
    assert pool.peak == 0


def test_memory_that_cannot_be_locked_is_used_all_the_same(caplog):
    pool = Pool(lambda *_: False, lambda _: pytest.fail("what was never locked is unlocked"))
    blocks = [pool.take(64), pool.take(128)]
    blocks[0].memory.fill_(7)
    assert pool.bytes == 0 and caplog.text.count("page-lock") == 1
    del blocks
    pool.trim()


def test_memory_goes_back_to_the_system(pool):
    block = pool.take(4096)
    memory = weakref.ref(block.memory.untyped_storage())
    del block
    pool.trim()
    gc.collect()
    assert memory() is None


def small_pair(shape=(12, 10, 9), classes=4):
    generator = torch.Generator().manual_seed(5)
    source, other = (random_maps(generator, classes, shape).float() for _ in range(2))
    control = 0.05 + 0.9 * torch.rand(classes, classes, generator=generator)
    return source, 0.8 * source + 0.2 * other, control


def test_states_that_are_parked_beside_the_steps_give_the_same_bits(lazy):
    chosen = settings(kernel_mm=(2.0,), amplitude_mm=3.0, steps=6)
    matching = MapPair(*small_pair(), (1.0, 1.2, 0.9)).matching(chosen)  # type: ignore[call-arg]
    noise = 0.05 * random_maps(torch.Generator().manual_seed(9), 4, (12, 10, 9)).float()
    momentum = tangent(noise, matching.source)
    expected = evaluate(momentum, matching, memory_strategies.STORE)
    assert not lazy.log
    found = evaluate(momentum, matching, memory_strategies.HOST)
    assert found.cost == expected.cost and torch.equal(found.gradient, expected.gradient)
    assert not lazy.queue
    assert lazy.outwards == lazy.inwards == 2 * 5, "all states but the first, once each way"


def test_copies_go_on_while_the_device_computes(lazy, monkeypatch):
    """Each state goes out during the step from it; half of each comes back while another step is undone."""
    matching = MapPair(*small_pair(), (1.0, 1.2, 0.9)).matching(  # type: ignore[call-arg]
        settings(kernel_mm=(2.0,), amplitude_mm=3.0, steps=4)
    )
    pull_back, advance = passes.pull_back, passes.advance

    def noted(name, work):
        def run(*args):
            lazy.log.append(name)
            return work(*args)

        return run

    monkeypatch.setattr(passes, "pull_back", noted("pull_back", pull_back))
    monkeypatch.setattr(passes, "advance", noted("advance", advance))
    evaluate(torch.zeros_like(matching.source), matching, memory_strategies.HOST)
    log = lazy.log
    first_end = log.index("end out")
    assert log[:first_end].count("begin out") == 2 and "advance" in log[log.index("begin out") : first_end]
    first_back = log.index("begin in")
    assert log[first_back:].count("begin in") == 6
    ahead = [k for k, what in enumerate(log) if what == "begin in" and log[k + 1] == "pull_back"]
    assert len(ahead) == 2, "one half of each parked state but the last comes back beside a pass"


def test_each_velocity_goes_out_once_and_comes_back_once(lazy):
    state, system = random_problem(3, 3, "mixed")
    velocities = [0.1 * torch.rand(3, *state.q.shape[1:]).to(state.q) for _ in range(5)]
    found = integrate(velocities, system.spacing, state.q)
    assert lazy.outwards == lazy.inwards == 5
    assert float(found.inverse_error) < 0.1


@pytest.mark.parametrize("name", ["offload", "host", "nested"])
def test_locked_memory_is_what_the_model_foretells(name, pool, locked, lazy, monkeypatch):
    """On a grid of one level; a whole registration with eight pairs, as the model reckons."""
    pair = small_pair((20, 18, 16), 5)
    chosen = settings(
        kernel_mm=(1.2,), amplitude_mm=3.0, steps=6, max_evaluations=14, tolerance=1e-12, volume_mm=3.0
    )
    steps = []
    register(  # type: ignore[call-arg]
        *pair,
        (1.0, 1.0, 1.0),
        chosen,
        Run(lambda _, iteration: steps.append(iteration.number), Ladder([BY_NAME[name]]), apart=True),
    )
    assert steps[-1] >= 9, "enough steps for eight pairs"
    size = budget.size_of(pair[0], 6)
    assert pool.peak == pytest.approx(model().peak(name, size, "cuda").host, rel=0.05)
