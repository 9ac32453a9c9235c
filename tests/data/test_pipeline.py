"""Batches: the same for a seed and an epoch, from memory and streamed, with the unreadable reported."""
import numpy as np
import pytest
import tensorflow as tf

from leanood.data import dataset, frames, pipeline, storage


def _dataset(count, broken=()):
    def read(i):
        if i in broken:
            raise frames.FrameError(f"frame{i}: broken")
        return np.full((4, 6, 3), i, np.uint8)

    return dataset.Dataset(
        names=tuple(f"frame{i}" for i in range(count)), partition=np.full(count, "a"),
        sequence=np.zeros(count, np.int64), split=np.full(count, "train"), ood=np.zeros(count, bool),
        partition_kind="subset", fps=20.0, read=read, description="made")


def _numbers(batches):
    return [np.rint(batch.numpy()[:, 0, 0, 0] * 255).astype(int).tolist() for batch in batches]


@pytest.fixture(params=[storage.MEMORY, 0], ids=["memory", "stream"])
def source(request):
    opened = pipeline.Source(_dataset(23), (2, 3), memory=request.param)
    assert opened.in_memory == bool(request.param)
    return opened


def test_an_epoch_has_every_frame_once(source):
    batches = list(source.batches(5, seed=1))
    assert [batch.shape.as_list() for batch in batches] == [[5, 2, 3, 3]] * 4 + [[3, 2, 3, 3]]
    assert batches[0].dtype == tf.float32
    assert sorted(sum(_numbers(batches), [])) == list(range(23))
    assert len(list(source.batches(5, drop_remainder=True))) == 4


def test_order_follows_from_seed_and_epoch(source):
    first = _numbers(source.batches(5, seed=1, epoch=2))
    assert _numbers(source.batches(5, seed=1, epoch=2)) == first
    assert _numbers(source.batches(5, seed=1, epoch=3)) != first
    assert _numbers(source.batches(5, seed=2, epoch=2)) != first
    assert _numbers(source.batches(5, shuffle=False)) == [list(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]


def test_memory_and_stream_deal_alike():
    stored, streamed = (pipeline.batches(_dataset(23), (2, 3), 5, seed=3, epoch=1, memory=m)
                        for m in (storage.MEMORY, 0))
    assert _numbers(stored) == _numbers(streamed)


def test_repeat_goes_through_the_epochs(source):
    epochs = _numbers(source.batches(5, seed=1, epoch=4)) + _numbers(source.batches(5, seed=1, epoch=5))
    assert _numbers(source.batches(5, seed=1, epoch=4, repeat=True).take(10)) == epochs


def test_augmentation_has_its_own_seed_for_every_batch(source):
    seeds = []

    def augment(batch, seed):
        return batch + tf.random.stateless_uniform([], seed) + 1.0

    for epoch in (0, 0, 1):
        batches = source.batches(5, shuffle=False, seed=1, epoch=epoch, augment=augment)
        seeds.append([float(batch[0, 0, 0, 0]) - i * 5 / 255 for i, batch in enumerate(batches)])
    assert seeds[0] == seeds[1]
    assert len(set(np.round(seeds[0] + seeds[2], 6))) == 10


@pytest.mark.parametrize("memory", [storage.MEMORY, 0])
def test_the_unreadable_are_left_out_and_reported(memory):
    source = pipeline.Source(_dataset(12, broken=(3, 7)), (2, 3), memory=memory)
    assert sorted(sum(_numbers(source.batches(5)), [])) == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert source.unreadable == ("frame3: broken", "frame7: broken")


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="made has no readable frame"):
        pipeline.batches(_dataset(2, broken=(0, 1)), (2, 3), 4)
    with pytest.raises(ValueError, match="batch_size: 0"):
        pipeline.batches(_dataset(2), (2, 3), 0)
