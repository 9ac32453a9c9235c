"""Videos: frames by number in any order, splits by time, damage that is reported and names with a percent sign."""
import cv2
import numpy as np
import pytest

from leanood.data import catalog, frames, groups, lanes


def _write(path, images, fps=25.0):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), fps, images.shape[2:0:-1])
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def images():
    return lanes.Lanes(5).frames(0, 300)


@pytest.fixture(scope="module")
def film(images, tmp_path_factory):
    return _write(tmp_path_factory.mktemp("video") / "drive%03d.avi", images)


def test_a_video_is_a_recording(film, images):
    recording = catalog.open(str(film))
    assert len(recording) == 300
    assert recording.names[12] == "drive%03d.avi#000012"
    assert recording.fps == 25.0
    assert set(recording.partition) == {"drive%03d"}
    assert [name for name in recording.split if name] == sorted(
        (name for name in recording.split if name), key=["train", "calibration", "validation", "test"].index)
    assert recording.starts[0]
    loaded, _, bad = recording.load((120, 160))
    assert not bad
    assert np.abs(loaded.astype(int) - images).mean() < 5  # JPEG


def test_frames_are_the_same_in_any_order(film):
    loaded = catalog.open(str(film)).load((120, 160))[0]
    recording = catalog.open(str(film))
    for i in np.random.default_rng(0).permutation(300)[:40]:
        np.testing.assert_array_equal(recording.read(int(i)), loaded[i])


def test_what_cannot_be_decoded_is_reported_frame_by_frame(film, tmp_path):
    data = film.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[:len(data) * 2 // 3])
    recording = catalog.open(str(tmp_path / "cut.avi"))
    images, readable, bad = recording.load((24, 32))
    assert len(images) == len(readable)
    assert len(readable) + len(bad) == 300
    assert 50 < len(bad) < 150
    assert bad[-1] == "cut.avi#000299: cannot be decoded; the video is damaged or cut short"
    with pytest.raises(frames.FrameError, match="#000299: cannot be decoded"):
        recording.read(299)
    assert recording.read(0).shape == (120, 160, 3)


def test_times_split_a_video_into_sequences(film, tmp_path):
    rows = [f"drive%03d.avi#{i:06d},{i * 50 + 5000 * (i >= 100)}" for i in range(300)]
    (tmp_path / "t.csv").write_text("frame,milliseconds\n" + "\n".join(rows))
    recording = catalog.open(str(film), times_csv=str(tmp_path / "t.csv"))
    assert recording.fps == 20.0
    assert recording.starts[100]


def test_no_video_is_one_clear_line(tmp_path, capfd):
    (tmp_path / "a.mp4").write_bytes(b"no film at all")
    with pytest.raises(ValueError, match="a.mp4: not a video that OpenCV can decode, nor an image folder"):
        catalog.open(str(tmp_path / "a.mp4"))


@pytest.fixture(scope="module")
def clips(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    (folder / "night").mkdir()
    for name, begin in (("clip2.avi", 0), ("clip10.AVI", 60), ("night/a.avi", 120), ("night/b.avi", 180)):
        _write(folder / name, images[begin:begin + 60])
    (folder / "notes.txt").write_text("of no interest")
    return folder


@pytest.mark.parametrize("spec", ["{}", "sequences:{}"])
def test_a_folder_of_videos_is_a_recording_each(clips, images, spec):
    data = catalog.open(spec.format(clips), ood_partitions=["night"])
    assert (len(data), data.fps, data.description) == (240, 25.0, f"{clips.name} (4 videos, 240 frames)")
    assert [data.names[i] for i in (0, 60, 239)] == ["clip2.avi#000000", "clip10.AVI#000000", "night/b.avi#000059"]
    assert set(data.partition) == {"all", "night"}
    assert data.ood.sum() == 120
    assert data.starts[[0, 60, 120, 180]].all()
    assert {label.partition(",")[0] for label in groups.of(data).values()} == {"clip2.avi", "clip10.AVI"}
    for i in np.random.default_rng(1).permutation(240)[:30].tolist():  # more files than are kept open, in any order
        assert np.abs(data.read(i).astype(int) - images[i]).mean() < 5  # JPEG


def test_videos_of_a_folder_must_agree(clips, images, tmp_path):
    _write(tmp_path / "slow.avi", images[:30], fps=10.0)
    _write(tmp_path / "fast.avi", images[:30], fps=30.0)
    with pytest.raises(ValueError, match=r"slow.avi has 10 frames a second, fast.avi 30; a detector counts in frames"):
        catalog.open(str(tmp_path))
    (tmp_path / "slow.avi").write_bytes(b"")
    with pytest.raises(ValueError, match="slow.avi: not a video that OpenCV can decode"):
        catalog.open(str(tmp_path))
    (tmp_path / "labels.csv").write_text("frame,partition,ood\n")
    with pytest.raises(ValueError, match="labels.csv is read beside images; of videos, a column `ood` of --times_csv"):
        catalog.open(str(tmp_path))
