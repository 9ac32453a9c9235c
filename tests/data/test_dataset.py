"""Data sets: folders in natural order, labels, splits, what cannot be read, and the mistakes a user makes."""
import collections

import cv2
import numpy as np
import pytest

from leanood.data import catalog, dataset, folders, frames


def _image(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((6, 8, 3), level, np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Two partitions of 30 images, whose grey level is their number."""
    for partition in ("day", "dusk"):
        for i in range(30):
            _image(tmp_path / "set" / partition / f"frame{i}.png", i)
    return tmp_path / "set"


def test_a_folders_images_come_in_natural_order(folder):
    (folder / "notes.txt").write_text("not looked at")
    data = catalog.open(str(folder))
    assert data.names[:4] == ("day/frame0.png", "day/frame1.png", "day/frame2.png", "day/frame3.png")
    assert data.names[30] == "dusk/frame0.png"
    assert [int(data.read(i)[0, 0, 0]) for i in range(60)] == 2 * list(range(30))
    assert collections.Counter(data.partition.tolist()) == {"day": 30, "dusk": 30}
    assert set(data.split) == {"train", "calibration", "validation", "test"}
    assert (data.sequence == -1).all()
    assert data.starts.all()
    assert (data.fps, data.partition_kind, data.description) == (0.0, "subset", "set (60 images)")


def test_natural_order_compares_numbers_and_folders():
    names = ["b/frame10.jpg", "b/frame2.jpg", "b/frame02.jpg", "a10/x.jpg", "a9/x.jpg", "b/²3.jpg", "b/%d7.jpg"]
    assert sorted(names, key=folders.natural_key) == [
        "a9/x.jpg", "a10/x.jpg", "b/%d7.jpg", "b/frame02.jpg", "b/frame2.jpg", "b/frame10.jpg", "b/²3.jpg"]
    prefixes = ["a b/x.jpg", "a/frame.jpg", "a/frame2.jpg", "a/b/x.jpg", "a2/x.jpg", "a/frame2b.jpg", "top.jpg"]
    assert sorted(prefixes, key=folders.natural_key) == [
        "a/b/x.jpg", "a/frame2.jpg", "a/frame2b.jpg", "a/frame.jpg", "a2/x.jpg", "a b/x.jpg", "top.jpg"]


def test_images_at_the_top_and_deep_folders_have_partitions_too(tmp_path):
    _image(tmp_path / "top.png", 1)
    _image(tmp_path / "a" / "b" / "deep.png", 2)
    data = catalog.open(str(tmp_path))
    assert dict(zip(data.names, data.partition)) == {"top.png": "all", "a/b/deep.png": "a/b"}


def test_videos_beside_images_are_counted_not_read(folder):
    (folder / "drive.MP4").write_bytes(b"")
    assert catalog.open(str(folder)).description == "set (60 images; unread videos: 1)"


def test_links_to_folders_are_followed_but_not_around_in_circles(folder, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "linked").symlink_to(folder / "day")
    (tmp_path / "more" / "back").symlink_to(tmp_path / "more")
    assert len(catalog.open(str(tmp_path / "more"))) == 30


@pytest.mark.parametrize("memory", [10**6, 0])
def test_load_reports_the_unreadable_by_name_and_leaves_them_out(folder, memory):
    (folder / "day" / "frame3.png").write_bytes(b"broken")
    (folder / "dusk" / "frame100%s.jpg").write_bytes(b"")
    images, readable, bad = catalog.open(str(folder)).load((3, 4), memory)
    assert isinstance(images, np.memmap) == (memory == 0)
    assert bad == ("day/frame3.png: not an image that OpenCV can decode", "dusk/frame100%s.jpg: the file is empty")
    assert images.shape == (59, 3, 4, 3)
    assert len(readable) == 59
    assert "day/frame3.png" not in readable.names
    assert [image[0, 0, 0] for image in images] == [int(readable.read(i)[0, 0, 0]) for i in range(59)]


def test_load_raises_what_is_no_frames_fault():
    data = _dataset(3)

    def broken(i):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        dataset.dataclasses.replace(data, read=broken).load((2, 2))


def test_where_and_splits_keep_everything_together(folder):
    data = catalog.open(str(folder))
    dusk = data.where(data.partition == "dusk")
    chosen = dusk.where([5, 3])
    assert chosen.names == ("dusk/frame5.png", "dusk/frame3.png")
    assert [int(chosen.read(i)[0, 0, 0]) for i in range(2)] == [5, 3]
    parts = [data.splits(name) for name in ("train", "calibration", "validation", "test")]
    assert sorted(name for part in parts for name in part.names) == sorted(data.names)
    assert len(data.where([])) == 0
    assert data.where([]).load((2, 2))[0].shape == (0, 2, 2, 3)
    with pytest.raises(ValueError, match="'training' is none of"):
        data.splits("training")
    with pytest.raises(ValueError, match="a mask of shape"):
        data.where(np.ones(3, bool))


@pytest.mark.parametrize(("chosen", "starts"), [
    (range(40), [0, 20]),
    ([0, 1, 3, 4, 14, 15], [0]),  # ten frames of twenty a second are missing: 0.5 s
    ([0, 1, 3, 4, 16, 17], [0, 4]),
    ([5, 6, 2, 3, 25, 26, 38], [0, 2, 4, 6]),
    ([19, 20], [0, 1]),
    ([], []),
])
def test_a_choice_that_tears_a_sequence_begins_a_new_one(chosen, starts):
    whole = _dataset(40, sequence=np.repeat([3, 8], 20))
    part = whole.where(list(chosen))
    assert np.flatnonzero(part.starts).tolist() == starts
    assert len(set(part.sequence)) == len(starts)
    assert (part.where(np.ones(len(part), bool)).sequence == part.sequence).all()
    assert (_dataset(40, sequence=np.full(40, -1)).where(list(chosen)).sequence == -1).all()


def test_labels_say_partition_and_truth(folder):
    names = [f"{p}/frame{i}.png" for p in ("dusk", "day") for i in range(30)]
    rows = [f"{name},{'x' if 'day' in name else 'y'},{int(name == 'day/frame7.png')}" for name in names]
    (folder / "labels.csv").write_text("frame,partition,ood\n" + "\n".join(rows))
    data = catalog.open(str(folder))
    assert collections.Counter(data.partition.tolist()) == {"x": 30, "y": 30}
    assert [data.names[i] for i in np.flatnonzero(data.ood)] == ["day/frame7.png"]
    assert data.split[7] == "ood"
    assert (data.split == "ood").sum() == 1


def test_a_recording_with_ood_frames_is_tested_as_a_whole(folder):
    rows = [f"{p}/frame{i}.png,road,{int(p == 'dusk' and i >= 15)}" for p in ("day", "dusk") for i in range(30)]
    (folder / "labels.csv").write_text("frame,partition,ood\n" + "\n".join(rows))
    data = catalog.open(f"sequences:{folder}", fps=10.0)
    dusk = np.array(["dusk" in name for name in data.names])
    assert (data.split[dusk] == "ood").all()
    assert data.ood.sum() == 15
    assert len(set(data.sequence[dusk])) == 1
    assert not (data.split[~dusk] == "ood").any()
    assert data.fps == 10.0
    assert data.starts.sum() == len(set(data.sequence))


def test_of_the_only_recording_just_the_frames_that_are_ood_are_left_out(folder):
    for image in (folder / "dusk").iterdir():
        image.unlink()
    (folder / "labels.csv").write_text("frame,partition,ood\n" + "\n".join(
        f"day/frame{i}.png,road,{int(3 <= i < 6)}" for i in range(30)))
    data = catalog.open(f"sequences:{folder}", fps=10.0)
    np.testing.assert_array_equal(data.split == "ood", data.ood)
    assert data.ood.sum() == 3
    assert data.starts[[3, 6]].all()  # what is left on both sides doesn't follow each other
    assert (data.split == "train").sum() > 10


def test_split_tables_fix_the_splits(folder, tmp_path):
    words = ["train", "ood", ""]
    rows = [f"{p}/frame{i}.png,{words[i % 3]}" for p in ("day", "dusk") for i in range(30)]
    (tmp_path / "s.csv").write_text("image,split\n" + "\n".join(rows))
    data = catalog.open(str(folder), split_csv=str(tmp_path / "s.csv"))
    assert collections.Counter(data.split.tolist()) == {"train": 20, "ood": 20, "": 20}
    np.testing.assert_array_equal(data.ood, data.split == "ood")


def test_times_order_frames_into_sequences(folder, tmp_path):
    milliseconds = np.arange(60) * 100
    milliseconds[40:] += 2000
    names = [f"{p}/frame{i}.png" for p in ("day", "dusk") for i in range(30)]
    (tmp_path / "t.csv").write_text("frame,milliseconds\n" + "\n".join(
        f"{name},{'' if i == 5 else ms}" for i, (name, ms) in enumerate(zip(names, milliseconds))))
    (tmp_path / "s.csv").write_text("image,split\n" + "\n".join(f"{name},test" for name in names))
    data = catalog.open(str(folder), times_csv=str(tmp_path / "t.csv"), split_csv=str(tmp_path / "s.csv"))
    assert np.flatnonzero(data.starts).tolist() == [0, 30, 40]
    assert data.fps == 10.0


def test_partitions_are_declared_out_of_distribution(folder):
    data = catalog.open(str(folder), ood_partitions=["dusk"])
    np.testing.assert_array_equal(data.ood, data.partition == "dusk")
    np.testing.assert_array_equal(data.split == "ood", data.ood)


def test_limit_takes_a_share_of_every_part(folder):
    data = catalog.open(str(folder), limit=12)
    assert 12 <= len(data) <= 20
    assert set(data.split) == {"train", "calibration", "validation", "test"}
    assert set(data.partition) == {"day", "dusk"}


@pytest.mark.parametrize(("spec", "options", "error", "reason"), [
    ("", {}, ValueError, "no data set was named"),
    ("{}/none", {}, FileNotFoundError, "none: no such folder or video file"),
    ("sequences:{}/none", {}, OSError, "none: no such folder"),
    ("{}/empty", {}, ValueError, r"empty: it holds no images \(.jpg"),
    ("{}/day", {"ood_partitions": ["night"]}, ValueError, "'night' is no partition; day .30 images. has all"),
    ("{}/day", {"split_csv": "none.csv"}, FileNotFoundError, "none.csv: no such file"),
    ("{}/day", {"limit": 0}, ValueError, "limit: 0 leaves no frame"),
    ("{}/day", {"fps": 0}, ValueError, "fps: 0 is not positive"),
    ("{}/labels.csv", {}, ValueError, "labels.csv: not a video"),
    ("lanes", {"split_csv": "s.csv"}, ValueError, "split_csv: lanes fixes this itself"),
])
def test_a_users_mistake_is_one_line(folder, capfd, spec, options, error, reason):
    (folder / "empty").mkdir()
    (folder / "labels.csv").write_text("no video")
    with pytest.raises(error, match=reason) as raised:
        catalog.open(spec.format(folder), **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "reason"), [
    ("frame,partition\n", "has no column 'ood'"),
    ("frame,partition,ood\nframe0.png,x,maybe\n", "'frame0.png' has ood 'maybe'; allowed are 0 and 1"),
    ("frame,partition,ood\nframe0.png,,0\n", "'frame0.png' has no partition"),
    ("frame,partition,ood\nframe0.png,x,0\n", "29 images, 'frame1.png' first, are not listed"),
    ("frame,partition,ood\nframe99.png,x,0\n", "'frame99.png' is not in the image folder"),
])
def test_broken_labels_are_named(folder, text, reason):
    (folder / "day" / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=f"labels.csv: .*{reason}"):
        catalog.open(str(folder / "day"))


def _dataset(count, **changed):
    fields = dict(names=tuple(f"{i}" for i in range(count)), partition=np.full(count, "a"),
                  sequence=np.zeros(count, np.int64), split=np.full(count, "train"), ood=np.zeros(count, bool),
                  partition_kind="subset", fps=20.0, read=lambda i: np.zeros((4, 4, 3), np.uint8), description="made")
    return dataset.Dataset(**{**fields, **changed})


@pytest.mark.parametrize(("changed", "reason"), [
    ({"names": ("a", "b", "a")}, "'a' occurs more than once"),
    ({"ood": np.zeros(2, bool)}, "ood: its shape is"),
    ({"split": np.full(3, "tran")}, "'tran' is none of"),
    ({"partition_kind": "class"}, "'class' is none of subset, factor"),
])
def test_an_inconsistent_data_set_is_refused(changed, reason):
    with pytest.raises(ValueError, match=reason):
        _dataset(3, **changed)


def test_the_official_split_of_duckietown(duckietown, real_data):
    data = catalog.open(str(duckietown), split_csv=str(real_data / "data" / "duckietown_split.csv"))
    assert collections.Counter(data.split.tolist()) == {
        "train": 398, "calibration": 105, "validation": 110, "test": 210, "ood": 855}
    assert set(data.partition[data.ood]) == {"dark", "red", "green"}
    assert any("%" in name for name in data.names)
    part = data.splits("calibration")
    images, readable, bad = part.load((48, 64))
    assert images.shape == (105, 48, 64, 3)
    assert not bad
    np.testing.assert_array_equal(images[50], frames.resize(part.read(50), (48, 64)))


def test_a_table_of_times_may_say_which_frames_are_ood(tmp_path):
    for i in range(60):
        _image(tmp_path / "drive" / f"{i:03d}.png", i)
    table = tmp_path / "times.csv"
    rows = [f"{i:03d}.png,{50 * i + 5000 * (i >= 40)},{int(50 <= i < 55)}" for i in range(60)]
    table.write_text("frame,milliseconds,ood\n" + "\n".join(rows))
    data = catalog.open(str(tmp_path), times_csv=str(table))
    assert np.flatnonzero(data.ood).tolist() == list(range(50, 55))
    assert (data.split[40:] == "ood").all()  # the whole sequence that turns OOD is only ever tested on
    assert not (data.split[:40] == "ood").any()
    table.write_text(table.read_text().replace(",1\n", ",maybe\n", 1))
    with pytest.raises(ValueError, match="times.csv: '050.png' has ood 'maybe'; allowed are 0 and 1"):
        catalog.open(str(tmp_path), times_csv=str(table))


def test_the_second_drives_excursion_is_labelled(real_data, tmp_path):
    """Its images are not needed for that: empty files of their names stand for them."""
    times = real_data / "data" / "donkeycar_track2_drive2.csv"
    (tmp_path / "drive2").mkdir()
    for line in times.read_text().splitlines()[1:]:
        (tmp_path / "drive2" / line.split(",")[0]).touch()
    data = catalog.open(str(tmp_path), times_csv=str(times))
    assert np.flatnonzero(data.ood).tolist() == list(range(15530, 15677))
    assert set(data.split[data.ood]) == {"ood"}


def test_donkeycar_is_one_drive_in_54_pieces(real_data, tmp_path):
    """Its images are not needed for that: empty files of their names stand for them."""
    times = real_data / "data" / "donkeycar_track2_times.csv"
    (tmp_path / "drive").mkdir()
    for line in times.read_text().splitlines()[1:]:
        (tmp_path / "drive" / line.split(",")[0]).touch()
    data = catalog.open(str(tmp_path), times_csv=str(times))
    assert len(data) == 16000
    assert data.fps == 20.0
    joins = (data.split[1:] != data.split[:-1]).sum()  # a cut by split starts a sequence as well
    assert len(set(data.sequence)) - joins == 54
    assert [int(np.flatnonzero(data.split == name)[0]) for name in ("train", "calibration", "validation", "test")] == [
        0, 8000, 10400, 12000]
