"""`.npy` headers, honest and hostile; pipes and devices among the images."""
import io
import os
import time

import numpy as np
import pytest

from leanood.data import frames, npy, playback, streams
from leanood.files import regular


def _header(text, magic=b"\x93NUMPY\x01\x00"):
    body = text.encode()
    return magic + len(body).to_bytes(2, "little") + body


HOSTILE = [
    _header("((((" * 2000 + "\n"), _header("{'descr': '|u1', 'fortran_order': False, 'shape': (1e9, 3), }\n"),
    _header("{'descr': '<f3', 'fortran_order': False, 'shape': (4, 4, 3), }\n") + bytes(144),
    _header("{'descr': '|O', 'fortran_order': False, 'shape': (4, 4, 3), }\n"),
    _header("{'descr': '|u1', 'fortran_order': False, 'shape': (999999, 999999, 3), }\n"),
    _header("\xff\xfe{]"), _header("__import__('os').abort()\n"), b"\x93NUMPY\x02\x00\xff\xff\xff\xff", b"\x93NUMPY",
    _header("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (4, 4, 3), }\n"), b"", b"\x00" * 200]


@pytest.mark.parametrize("content", HOSTILE)
def test_a_hostile_npy_is_one_invalid_frame(tmp_path, content):
    np.save(tmp_path / "a.npy", np.full((4, 4, 3), 9, np.uint8))
    (tmp_path / "b.npy").write_bytes(content)
    np.save(tmp_path / "c.npy", np.full((4, 4, 3), 11, np.uint8))
    items = list(streams.open(str(tmp_path)).items())
    assert [item.frame is None for item in items] == [False, True, False]
    assert "not a .npy file of numbers, or a truncated one" in items[1].problem


@pytest.mark.parametrize("array", [
    np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.asfortranarray(np.arange(24.0).reshape(2, 4, 3)),
    np.arange(6, dtype=">u2"), np.zeros((0, 3), np.float16), np.array(7), np.ones((3, 1), bool)])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_read(tmp_path, array, version):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, array, version)
    with regular.open(str(tmp_path / "x.npy")) as file:
        read = npy.read(file)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


def test_a_header_is_not_believed_about_the_length(tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros((2, 4, 4, 3), np.uint8))
    data = file.getvalue()
    path = tmp_path / "stack.npy"
    path.write_bytes(data.replace(b"(2, 4, 4, 3), }       ", b"(99999999, 4, 4, 3), }"))
    items = list(playback.Stack(str(path)).items())
    assert [item.frame is None for item in items] == [False, False, True]
    assert items[-1].problem == f"{path}[2]: the file ends before it"


def test_a_stack_of_impossible_frames_is_refused(tmp_path):
    path = tmp_path / "huge.npy"
    path.write_bytes(_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9, 99999, 99999, 3), }\n"))
    with pytest.raises(ValueError, match="larger than any camera's"):
        playback.Stack(str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("suffix", [".jpg", ".npy"])
def test_pipes_and_devices_are_no_images_and_nobody_waits_for_them(tmp_path, suffix):
    os.mkfifo(tmp_path / f"a{suffix}")
    os.symlink("/dev/zero", tmp_path / f"b{suffix}")
    os.symlink(tmp_path / f"c{suffix}", tmp_path / f"c{suffix}")
    (tmp_path / f"d{suffix}").mkdir()
    begin = time.monotonic()
    for name in "abcd":
        with pytest.raises(frames.FrameError, match="cannot be read"):
            frames.read_image(tmp_path / f"{name}{suffix}")
    assert time.monotonic() - begin < 5


def test_tiff_is_read_and_gif_is_named(tmp_path):
    import cv2

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.tiff"), image[..., ::-1])
    np.testing.assert_array_equal(frames.read_image(tmp_path / "a.tiff"), image)
    other = tmp_path / "gifs"
    other.mkdir()
    (other / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"it has \.gif files, which are not read"):
        streams.open(str(other))


def test_images_without_opencv_are_refused_at_once(tmp_path, monkeypatch):
    from leanood.data import decoder

    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.setattr(decoder, "opencv", lambda: None)
    with pytest.raises(ValueError, match=r"image files need OpenCV: pip install 'leanood\[video\]'"):
        streams.open(str(tmp_path))
