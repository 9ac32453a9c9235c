"""Groups: recordings, blocks of one, blocks of images, by the names or by a table."""
import numpy as np
import pytest

from leanood.data import catalog, dataset, groups


def _dataset(names, sequence=-1, partition="all", split="train"):
    count = len(names)
    return dataset.Dataset(
        names=tuple(names), partition=np.array([partition] * count if isinstance(partition, str) else partition),
        sequence=np.full(count, sequence) if np.isscalar(sequence) else np.array(sequence),
        split=np.array([split] * count if isinstance(split, str) else split), ood=np.zeros(count, bool),
        partition_kind="subset", fps=20.0, read=lambda i: None, description="made up")


def test_recordings_are_groups():
    data = _dataset([f"{drive}/{i}.jpg" for drive in "abcde" for i in range(4)], sequence=np.repeat(np.arange(5), 4))
    assert groups.of(data)["b/3.jpg"] == "b"
    assert len(set(groups.of(data).values())) == 5
    assert groups.unit(data) == "recordings"
    assert groups.unit(data, "[a-e]") == "groups"
    assert len(set(groups.of(catalog.open("lanes:frames=2000,scene=50,size=32x32")).values())) > 20


def test_one_recording_is_cut_into_ten():
    data = _dataset([f"drive/{i:03d}.jpg" for i in range(95)], sequence=0)
    labels = groups.of(data)
    assert groups.unit(data) == "blocks of one recording"
    assert [labels[f"drive/{i:03d}.jpg"] for i in (0, 9, 10, 94)] == ["block 0", "block 0", "block 1", "block 9"]


def test_few_recordings_are_cut_too():
    data = _dataset([f"{drive}/{i:03d}.jpg" for drive in "ab" for i in range(48)], sequence=np.repeat([0, 1], 48))
    labels = groups.of(data)
    assert groups.unit(data) == "blocks of 2 recordings"
    assert len(set(labels.values())) == 10
    assert [labels[name] for name in ("a/009.jpg", "a/010.jpg", "b/047.jpg")] == ["a, block 0", "a, block 1",
                                                                                 "b, block 4"]
    assert set(groups.of(data, "[ab]").values()) == {"a", "b"}


def test_images_are_cut_into_neighbours_within_their_partition():
    names = [f"{part}/{i:03d}.jpg" for part in ("bright", "medium") for i in range(400)]
    data = _dataset(names, partition=[name.split("/")[0] for name in names])
    labels = groups.of(data)
    assert groups.unit(data) == "blocks of images"
    assert labels["bright/009.jpg"] == "bright, block 0"
    assert labels["medium/010.jpg"] == "medium, block 1"
    assert len(set(labels.values())) == 80


def test_only_what_a_detector_is_made_of_has_a_group():
    labels = groups.of(_dataset([f"{i}.jpg" for i in range(40)], split=["train"] * 20 + ["test"] * 20))
    assert set(labels) == {f"{i}.jpg" for i in range(20)}


@pytest.mark.parametrize("sequence", [-1, 0])
def test_where_nothing_is_fitted_there_are_no_groups(sequence):
    assert groups.of(_dataset(["a/1.jpg", "a/2.jpg"], sequence=sequence, split="test")) == {}


def test_by_the_names():
    data = _dataset(["m_BR_doort_1.jpg", "m_CR_doort_2.jpg", "m_BR_zgx_3.jpg"])
    assert groups.of(data, r"_[A-Z]+_([a-z]+)_") == {"m_BR_doort_1.jpg": "doort", "m_CR_doort_2.jpg": "doort",
                                                     "m_BR_zgx_3.jpg": "zgx"}
    assert groups.of(data, "[A-Z]+")["m_CR_doort_2.jpg"] == "CR"
    assert groups.of(data, "_([A-Z]+)_([a-z]+)")["m_BR_zgx_3.jpg"] == "BR/zgx"


def test_by_a_table(tmp_path):
    table = tmp_path / "days.csv"
    table.write_text("image,day,robot\na.jpg,mon,x\nb.jpg,tue,x\nc.jpg,mon,x\n")
    data = _dataset(["r/a.jpg", "r/b.jpg", "r/c.jpg"], split=["train", "calibration", "test"])
    assert groups.of(data, f"{table}:day") == {"r/a.jpg": "mon", "r/b.jpg": "tue"}
    with pytest.raises(ValueError, match="all frames are of one group, 'x'"):
        groups.of(data, f"{table}:robot")
    with pytest.raises(ValueError, match="no column 'week'"):
        groups.of(data, f"{table}:week")


@pytest.mark.parametrize(("by", "message"), [
    ("([a-z", "is no regular expression"), ("[0-9]+", "is not found in the name 'a.jpg'"),
    ("jpg", "all frames are of one group, 'jpg'"), ("none.csv:day", "none.csv: no such file")])
def test_mistakes_are_named(by, message):
    with pytest.raises((ValueError, OSError), match=message):
        groups.of(_dataset(["a.jpg", "b.jpg"]), by)
