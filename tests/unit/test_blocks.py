"""Large fields on a CPU: memory is used again, returned to the system, and never more than is needed."""

from __future__ import annotations

import errno
import gc
import mmap
import weakref
from queue import SimpleQueue
from random import Random
from threading import Thread

import pytest
import torch
from small_problems import random_maps, settings

from longimorph.numerics import blocks, memory_strategies
from longimorph.numerics.blocks import new_field
from longimorph.numerics.live_bytes import LiveBytes
from longimorph.numerics.memory_strategies import BY_NAME, Ladder, out_of_memory
from longimorph.numerics.parking import park
from longimorph.numerics.register import register
from longimorph.numerics.run import Run

GRID = (8, 16, 16)


class Mapped:
    """Counts the bytes of blocks that are mapped."""

    def __init__(self) -> None:
        self.now = self.peak = self.blocks = 0

    def obtain(self, size: int) -> mmap.mmap:
        memory = blocks.pages(size)
        self.blocks, self.now = self.blocks + 1, self.now + size
        self.peak = max(self.peak, self.now)
        weakref.finalize(memory, self._gone, size)
        return memory

    def _gone(self, size: int) -> None:
        self.now -= size


@pytest.fixture
def mapped(monkeypatch):
    """Every field is a block, and counted."""
    counted = Mapped()
    monkeypatch.setattr(blocks, "LARGE", 1)
    blocks.FIELDS.clear()
    monkeypatch.setattr(blocks.FIELDS, "_obtain", counted.obtain)
    yield counted
    blocks.FIELDS.clear()


def test_a_released_field_is_the_next_of_its_size(mapped):
    like = torch.zeros(3, *GRID)
    first, other = new_field(like), new_field(like, 2)
    assert first.shape == (3, *GRID) and other.shape == (2, *GRID) and first.dtype == like.dtype
    address = first.data_ptr()
    del first
    again = new_field(like)
    assert again.data_ptr() == address and mapped.blocks == 2
    assert new_field(like.double()).dtype == torch.float64


def test_a_view_keeps_the_memory(mapped):
    field = new_field(torch.zeros(3, *GRID)).fill_(7)
    view = field[1, :4].numpy()
    del field
    other = new_field(torch.zeros(3, *GRID)).zero_()
    assert (view == 7).all() and mapped.blocks == 2
    assert not other.any()


def test_memory_for_another_size_replaces_what_is_unused(mapped):
    """Four maps were in use at the peak; one channel more leaves room for three unused ones."""
    like = torch.zeros(3, *GRID)
    fields = [new_field(like) for _ in range(4)]
    del fields
    gc.collect()
    assert mapped.now == mapped.peak == 4 * like.nbytes
    one = new_field(like, 1)
    assert mapped.now == 3 * like.nbytes + one.nbytes
    blocks.FIELDS.clear()
    assert mapped.now == one.nbytes
    more = [new_field(like), new_field(like, 2)]
    assert mapped.now == one.nbytes + like.nbytes + 2 * one.nbytes
    del one, more
    blocks.FIELDS.clear()
    assert mapped.now == 0 and mapped.peak == 4 * like.nbytes


@pytest.mark.parametrize("seed", range(5))
def test_blocks_never_take_more_than_was_in_use_at_once(mapped, seed):
    """Random requests and releases of four sizes."""
    random, like = Random(seed), torch.zeros(1, *GRID)
    held: list[torch.Tensor] = []
    most = 0
    for _ in range(300):
        if held and random.random() < 0.5:
            held.pop(random.randrange(len(held)))
        else:
            held.append(new_field(like, random.choice((1, 2, 3, 5))))
        most = max(most, sum(field.nbytes for field in held))
        assert mapped.now <= most
    assert mapped.blocks < 150, "most requests are met by blocks used before"


def test_small_fields_and_other_devices_have_no_blocks(mapped, monkeypatch):
    assert new_field(torch.zeros(2, *GRID, device="meta"), 1).device.type == "meta" and not mapped.blocks
    monkeypatch.setattr(blocks, "LARGE", 4 * 1 * 8 * 16 * 16 + 1)
    assert new_field(torch.zeros(2, *GRID), 1).shape == (1, *GRID) and not mapped.blocks
    new_field(torch.zeros(2, *GRID))
    assert mapped.blocks == 1


def test_the_instrument_counts_a_block_while_it_is_used(mapped):
    like = torch.zeros(3, *GRID)
    with LiveBytes() as meter:
        for _ in range(5):
            field = new_field(like)
            del field
        assert meter.peak == like.nbytes
        kept = [new_field(like) for _ in range(2)]
    assert meter.peak == 2 * like.nbytes and len(kept) == 2


def test_no_memory_left_is_an_error_that_a_strategy_answers(monkeypatch):
    def refuse(size):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(blocks, "LARGE", 1)
    blocks.FIELDS.clear()
    monkeypatch.setattr(blocks.FIELDS, "_obtain", refuse)
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            new_field(torch.zeros(3, *GRID))
        assert out_of_memory(caught.value)
    monkeypatch.undo()
    assert new_field(torch.zeros(3, *GRID)).shape == (3, *GRID)


def test_a_strategy_that_failed_leaves_no_unused_memory(mapped):
    def work():
        if ladder.current is BY_NAME["store"]:
            new_field(torch.zeros(3, *GRID))
            raise MemoryError
        return mapped.now

    ladder = Ladder([BY_NAME["store"], BY_NAME["checkpoint"]])
    assert ladder.attempt(work) == 0


def test_parking_what_is_kept_takes_one_copy_more(mapped, monkeypatch):
    """Each original goes back to the system before the next is copied."""
    like = torch.zeros(3, *GRID)
    ladder = Ladder([BY_NAME["checkpoint"], BY_NAME["host"]])
    kept = [ladder.keep(new_field(like).fill_(turn)) for turn in range(6)]
    left: list[int] = []

    def noted(tensor):
        left.append(mapped.now // like.nbytes)
        return park(tensor)

    def work():
        if not left:
            raise MemoryError
        return mapped.now

    monkeypatch.setattr(memory_strategies, "park", noted)
    assert ladder.attempt(work) == 0
    assert left == [6, 5, 4, 3, 2, 1]
    assert [float(one.get().mean()) for one in kept] == list(range(6))


def test_unused_blocks_are_released_before_there_is_no_memory(monkeypatch, mapped):
    """The system refuses whatever would exceed four maps."""
    like = torch.zeros(1, *GRID)
    obtain = mapped.obtain

    def bounded(size):
        if mapped.now + size > 4 * like.nbytes:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return obtain(size)

    monkeypatch.setattr(blocks.FIELDS, "_obtain", bounded)
    monkeypatch.setattr(blocks.FIELDS, "_peak", 100 * like.nbytes)
    fields = [new_field(like) for _ in range(3)]
    del fields
    assert new_field(like, 3).shape == (3, *GRID)
    assert mapped.now == 3 * like.nbytes


def test_blocks_may_be_put_back_by_other_threads(mapped):
    """What a pass computes may be released last by the thread that computed it."""
    like = torch.zeros(1, *GRID)
    queue: SimpleQueue[torch.Tensor | None] = SimpleQueue()

    def release():
        while queue.get() is not None:
            pass

    threads = [Thread(target=release) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(2000):
            field = new_field(like, 1 + turn % 4)
            assert field.shape == (1 + turn % 4, *GRID)
            queue.put(field)
            del field
    finally:
        for _ in threads:
            queue.put(None)
        for thread in threads:
            thread.join()
    blocks.FIELDS.clear()
    assert mapped.now == 0


@pytest.mark.parametrize("strategy", ["store", "checkpoint", "nested"])
def test_a_registration_gives_the_same_bits_within_its_peak(mapped, monkeypatch, strategy):
    """Blocks hold what the other tensors do not: at most the peak that the instrument counts."""
    generator = torch.Generator().manual_seed(3)
    source, other = (random_maps(generator, 4, (14, 12, 13)).float() for _ in range(2))
    target, control = 0.7 * source + 0.3 * other, torch.rand(4, 4, generator=generator)
    chosen = settings(kernel_mm=(2.0,), amplitude_mm=3.0, steps=5, max_evaluations=6)

    def run():
        return register(
            source, target, control, (1.0, 1.2, 0.9), chosen, Run(ladder=Ladder([BY_NAME[strategy]]))
        )

    with LiveBytes() as meter:
        found = run()
    most, used = meter.peak, mapped.peak
    assert 0 < used <= most
    assert mapped.now <= most / 4, "the registration is over; only its results are left"
    monkeypatch.setattr(blocks, "LARGE", 1 << 60)
    expected = run()
    assert torch.equal(found.momentum, expected.momentum)
    assert torch.equal(found.attribution.deformation, expected.attribution.deformation)
