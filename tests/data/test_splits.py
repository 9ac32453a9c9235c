"""Splits: disjoint, by time with a guard, by blocks, by table; sequences by times."""
import collections
import itertools

import numpy as np
import pytest

from leanood.data import splits, tables


def _csv(path, text):
    path.write_text(text)
    return str(path)


def test_recordings_are_cut_by_time_with_a_guard():
    split = splits.by_time(np.zeros(20000, int), fps=20.0)
    runs = [(name, len(list(group))) for name, group in itertools.groupby(split.tolist())]
    assert runs == [("train", 9800), ("", 200), ("calibration", 2800), ("", 200), ("validation", 1800), ("", 200),
                    ("test", 5000)]


def test_short_recordings_have_short_guards_and_each_is_cut():
    split = splits.by_time(np.repeat([0, 1], 200), fps=20.0)
    for part in (split[:200], split[200:]):
        counts = collections.Counter(part.tolist())
        assert counts == {"train": 96, "calibration": 26, "validation": 16, "test": 50, "": 12}


@pytest.mark.parametrize("count", [4, 10, 37, 100, 1000, 1003])
def test_blocks_cover_all_in_about_the_shares(count):
    names = [f"a/{i}.jpg" for i in range(count)]
    split = splits.by_blocks(np.zeros(count, int), names)
    counts = collections.Counter(split.tolist())
    assert sum(counts[name] for name in splits.NAMES) == count
    for name, share in zip(splits.NAMES, splits.SHARES):
        assert abs(counts[name] - share * count) <= max(10, 1), name


def test_blocks_keep_ten_neighbours_together():
    split = splits.by_blocks(np.zeros(1000, int), [f"{i}" for i in range(1000)])
    assert all(len(set(split[i:i + 10])) == 1 for i in range(0, 1000, 10))


def test_blocks_depend_on_seed_and_names_only():
    names = [f"{i}" for i in range(500)]
    first = splits.by_blocks(np.zeros(500, int), names, seed=1)
    np.testing.assert_array_equal(first, splits.by_blocks(np.zeros(500, int), names, seed=1))
    assert (first != splits.by_blocks(np.zeros(500, int), names, seed=2)).any()


def test_a_file_s_name_may_be_any_bytes():
    names = [f"{i}\udcff.jpg" for i in range(40)]  # as os.listdir gives what is no UTF-8
    assert set(splits.by_blocks(np.zeros(40, int), names)) == set(splits.NAMES)


def test_every_partition_is_in_every_split():
    partition = np.repeat(["a", "b", "c"], [40, 300, 5000])
    split = splits.by_blocks(partition, [f"{i}" for i in range(len(partition))])
    for name in "abc":
        assert set(split[partition == name]) == set(splits.NAMES)


@pytest.mark.parametrize("count", range(8, 60))
def test_eight_images_suffice_for_every_split(count):
    assert set(splits.by_blocks(np.zeros(count), [str(i) for i in range(count)])) == set(splits.NAMES)


def test_tiny_partitions_are_dealt_out_together():
    counts = collections.Counter(splits.by_blocks(np.arange(100) // 2, [str(i) for i in range(100)]).tolist())
    assert counts == {"train": 50, "calibration": 15, "validation": 10, "test": 25}


def test_sequences_end_at_gaps_jumps_back_and_recordings():
    seconds = np.array([0.0, 0.05, np.nan, np.nan, 0.2, 0.9, 0.95, 0.3, 0.35, 0.4])
    recording = np.array([0] * 9 + [1])
    assert splits.sequences(recording, seconds, 20.0).tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 3]
    assert splits.sequences(recording, None, 20.0).tolist() == [0] * 9 + [1]


def test_frames_of_unknown_time_account_for_their_part_of_a_gap():
    seconds = np.full(30, np.nan)
    seconds[[0, 29]] = 0.0, 29 * 0.05
    assert splits.sequences(np.zeros(30, int), seconds, 20.0).max() == 0
    seconds[29] += 0.6
    assert splits.sequences(np.zeros(30, int), seconds, 20.0).max() == 1


def test_gaps_show_in_the_frames_numbers():
    names = [f"a/{i:05d}.jpg" for i in (*range(20), *range(25, 40), *range(60, 80))] + ["b/x.jpg", "b/y.jpg"]
    recording = np.array([0] * 55 + [1] * 2)
    sequence, fps, seconds = splits.recorded(recording, names, None, 20.0)
    assert np.flatnonzero(np.diff(sequence)).tolist() == [34, 54]  # 6 frames are 0.3 s, 21 are 1.05 s
    assert fps == 20.0
    every_tenth = [f"drive2_{i}.jpg" for i in range(0, 500, 10)]
    assert splits.recorded(np.zeros(50, int), every_tenth, None, 2.0)[0].max() == 0


def test_a_sequence_never_crosses_splits():
    sequence = np.array([0, 0, 0, 0, 1, 1, -1, -1])
    split = np.array(["train", "train", "", "test", "test", "test", "test", "train"])
    assert splits.cut_sequences(sequence, split).tolist() == [0, 0, 1, 2, 3, 3, -1, -1]


def test_frame_rate_is_the_median_of_what_is_known():
    assert splits.frame_rate(np.array([0, 0.05, 0.10, np.nan, 7.0, 7.05]), 30.0) == 20.0
    assert splits.frame_rate(np.array([np.nan, 1.0]), 30.0) == 30.0


def test_tables_are_matched_by_path_or_by_file_name(tmp_path):
    path = _csv(tmp_path / "s.csv", "\ufeffsplit, image\ntrain,b.jpg\n,x/a%d.jpg\n\nood,./x/c.jpg\n")
    assert splits.from_csv(path, ["x/a%d.jpg", "x/b.jpg", "x/c.jpg"]).tolist() == ["", "train", "ood"]


@pytest.mark.parametrize(("text", "reason"), [
    ("image\na.jpg\n", "has no column 'split'"),
    ("", "has no column 'image'"),
    ("image,split\na.jpg,train\na.jpg,test\n", "line 3 names 'a.jpg' again, after line 2"),
    ("image,split\na.jpg,training\nb.jpg,test\n", "'a.jpg' has the split 'training'; allowed are train, calibration"),
    ("image,split\na.jpg,train\nb.jpg,test\nc.jpg,test\n", "'c.jpg' is not in the image folder"),
    ("image,split\nd.jpg,train\nb.jpg,test\nc.jpg,test\n", "2 images, 'd.jpg' first, are not in the image folder"),
    ("image,split\na.jpg,train\n", "'x/b.jpg' is not listed"),
    ("image,split\na.jpg\n", "line 2 has 1 columns, the header has 2"),
    ("image,split\na.jpg,train\nx/a.jpg,test\nb.jpg,test\n", "'a.jpg' and 'x/a.jpg' are the same image"),
])
def test_broken_split_tables_are_named(tmp_path, text, reason):
    path = _csv(tmp_path / "s.csv", text)
    with pytest.raises(ValueError, match=f"s.csv: .*{reason}") as error:
        splits.from_csv(path, ["x/a.jpg", "x/b.jpg"])
    assert "\n" not in str(error.value)


def test_file_names_that_two_folders_share_are_not_guessed():
    with pytest.raises(ValueError, match="'a.jpg' is not in the image folder"):
        tables.match("s.csv", ["a.jpg"], ["x/a.jpg", "y/a.jpg"])


def test_broken_times_are_named(tmp_path):
    path = _csv(tmp_path / "t.csv", "frame,milliseconds\na.jpg,soon\n")
    with pytest.raises(ValueError, match="t.csv: 'a.jpg' has 'soon' milliseconds"):
        splits.times_from_csv(path, ["a.jpg"])
    with pytest.raises(FileNotFoundError, match="none.csv: no such file"):
        splits.times_from_csv(str(tmp_path / "none.csv"), ["a.jpg"])
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="b.csv: not a CSV table"):
        splits.times_from_csv(str(tmp_path / "b.csv"), ["a.jpg"])
