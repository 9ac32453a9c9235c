"""Frames: the area resize against OpenCV and against areas summed by hand, the checks, the image files."""
import concurrent.futures
import os

import cv2
import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies

from leanood.data import decoder, frames, resizer

sizes = strategies.tuples(strategies.integers(1, 40), strategies.integers(1, 40))
images = sizes.flatmap(lambda size: hypothesis.extra.numpy.arrays(np.uint8, size + (3,)))


def _noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _overlaps(length, count):
    """[count, length]: how much of each input cell each output cell covers, one interval at a time."""
    out = np.zeros((count, length))
    for i in range(count):
        for j in range(length):
            out[i, j] = max(0.0, min((i + 1) * length / count, j + 1) - max(i * length / count, j)) / (length / count)
    return out


def _area(image, size):
    """The mean over the area that each output pixel covers, float64."""
    rows, columns = _overlaps(image.shape[0], size[0]), _overlaps(image.shape[1], size[1])
    return np.einsum("bj,ajc->abc", columns, np.tensordot(rows, image.astype(float), 1))


@hypothesis.given(images, sizes)
@hypothesis.settings(deadline=None, max_examples=60)
def test_resize_is_the_mean_over_the_covered_area(image, size):
    halved = image.astype(float)
    while all(n % 2 == 0 and n >= 2 * m for n, m in zip(halved.shape[:2], size)):
        height, width = halved.shape[0] // 2, halved.shape[1] // 2
        halved = np.floor(halved.reshape(height, 2, width, 2, 3).mean((1, 3)) + 0.5)
    for opencv in (False, True):
        assert np.abs(frames.resize(image, size, opencv) - _area(halved, size)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [(224, 224), (120, 160), (64, 64)])
def test_halving_first_stays_near_the_area_of_a_camera_picture(size):
    rows, columns = np.mgrid[0:480, 0:640] / 40.0
    texture = np.stack([np.sin(rows), np.cos(columns), np.sin(rows + 2 * columns)], -1)
    image = np.rint(127 + 90 * texture + np.random.default_rng(0).normal(0, 3, texture.shape)).astype(np.uint8)
    difference = np.abs(frames.resize(image, size) - _area(image, size))
    assert difference.mean() < 1
    assert abs((frames.resize(image, size) - _area(image, size)).mean()) < 0.3  # halves are rounded up


def test_a_camera_picture_is_halved_before_the_general_resize():
    assert frames.halvings((480, 640), (224, 224)) == 1
    assert frames.halvings((480, 640), (120, 160)) == 2
    assert frames.halvings((480, 640), (64, 64)) == 2  # 120x160, whose half is smaller
    assert frames.halvings((481, 640), (64, 64)) == 0
    assert frames.halvings((64, 64), (64, 64)) == 0


@pytest.mark.parametrize(("rows", "more"), [(6, 34), (9, 51), (14, 18), (28, 72)])
def test_enlarging_takes_the_right_neighbour_where_borders_coincide(rows, more):
    image = np.random.default_rng(0).integers(0, 256, (rows, 3, 3), dtype=np.uint8)
    assert np.abs(frames.resize(image, (more, 3)) - _area(image, (more, 3))).max() <= 0.51


@hypothesis.given(images, sizes)
@hypothesis.settings(deadline=None, max_examples=100)
def test_numpy_and_opencv_agree_to_a_level(image, size):
    difference = np.abs(frames.resize(image, size).astype(int) - frames.resize(image, size, opencv=False))
    assert difference.max() <= 1


@pytest.mark.parametrize(("size", "other"), [
    ((240, 320), (120, 160)), ((240, 320), (60, 80)), ((240, 320), (64, 64)), ((120, 160), (64, 64)),
    ((480, 640), (224, 224)), ((120, 160), (113, 152)), ((32, 32), (50, 71)), ((64, 64), (224, 224))])
def test_numpy_and_opencv_differ_on_rare_ties_only(size, other):
    image = _noise(*size)
    ours = frames.resize(image, other, opencv=False)
    assert (frames.resize(image, other) != ours).mean() < 1e-2
    if other[0] < size[0] and (frames.halvings(size, other) == 0 or size[0] == 2 * other[0]):
        assert (cv2.resize(image, other[::-1], interpolation=cv2.INTER_AREA) != ours).mean() < 2e-3


@hypothesis.given(strategies.integers(0, 255), sizes, sizes)
@hypothesis.settings(deadline=None, max_examples=60)
def test_resize_keeps_a_constant_image_constant(level, size, other):
    image = np.full(size + (3,), level, np.uint8)
    for opencv in (False, True):
        assert (frames.resize(image, other, opencv) == level).all()


@hypothesis.given(sizes, strategies.integers(1, 6), strategies.integers(1, 6), strategies.booleans())
@hypothesis.settings(deadline=None, max_examples=60)
def test_resize_by_integers_keeps_the_mean(size, down, across, opencv):
    image = _noise(size[0] * down, size[1] * across, seed=size[0] * 41 + size[1])
    small = frames.resize(image, size, opencv)
    # Halves are rounded upwards where four pixels become one, so that each halving may shift the mean by an eighth.
    noise = 0.5 * 4 / np.sqrt(small.size)
    assert abs(small.mean() - image.mean()) < 0.13 * max(1, frames.halvings(image.shape[:2], size)) + noise


def test_resize_takes_any_leading_axes_and_leaves_its_input_alone():
    batch = np.stack([_noise(30, 40, seed) for seed in range(6)]).reshape(2, 3, 30, 40, 3)
    before = batch.copy()
    small = frames.resize(batch, (7, 9))
    assert small.shape == (2, 3, 7, 9, 3)
    np.testing.assert_array_equal(small[1, 2], frames.resize(batch[1, 2], (7, 9)))
    np.testing.assert_array_equal(batch, before)
    assert frames.resize(batch[:, :0], (7, 9)).shape == (2, 0, 7, 9, 3)
    assert frames.resize(batch, (30, 40)) is batch


@pytest.mark.parametrize("opencv", [True, False])
@pytest.mark.parametrize("size", [(12, 16), (7, 9), (24, 32), (47, 70)])
def test_a_streams_resize_changes_no_pixel_and_no_earlier_frame(monkeypatch, size, opencv):
    if not opencv:
        monkeypatch.setattr(decoder, "opencv", lambda: None)
    rng, resize, earlier = np.random.default_rng(0), resizer.Resizer(size), []
    for height, width in [(48, 64), (48, 64), (96, 128), (48, 64), size, (20, 96), (96, 20), (80, 96), (51, 96)]:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        before = image.copy()
        earlier.append((resize(image), frames.resize(image, size)))
        np.testing.assert_array_equal(image, before)
    for small, plain in earlier:
        np.testing.assert_array_equal(small, plain)
    view = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)[::-1, ::2, ::-1]
    np.testing.assert_array_equal(resize(view), frames.resize(view, size))
    with pytest.raises(frames.FrameError, match="uint8"):
        resize(np.zeros((96, 128, 3), np.float32))


def test_resize_takes_views_that_are_not_contiguous():
    image = _noise(24, 36)
    np.testing.assert_array_equal(frames.resize(image[::-1, ::2, ::-1], (6, 5)),
                                  frames.resize(image[::-1, ::2, ::-1].copy(), (6, 5)))


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_resize_refuses_what_is_no_frame(wrong):
    with pytest.raises(frames.FrameError, match="must be uint8"):
        frames.resize(wrong, (2, 2))
    with pytest.raises(frames.FrameError, match="cannot resize 4x4 to 0x2"):
        frames.resize(np.zeros((4, 4, 3), np.uint8), (0, 2))


def test_check_passes_bytes_and_converts_unit_floats():
    image = _noise(5, 6)
    assert frames.check(image) is image
    np.testing.assert_array_equal(frames.check(image / 255.0), image)
    np.testing.assert_array_equal(frames.check((image / np.float32(255)).astype(np.float32)), image)


@pytest.mark.parametrize(("wrong", "reason"), [
    (np.zeros((4, 4), np.uint8), r"its shape is \[4, 4\]"),
    (np.zeros((4, 4, 1), np.uint8), r"its shape is \[4, 4, 1\]"),
    (np.zeros((2, 4, 4, 3), np.uint8), r"its shape is \[2, 4, 4, 3\]"),
    (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    (np.zeros((4, 4, 3), np.int32), "its type is int32"),
    (np.full((4, 4, 3), np.nan), "not finite"),
    (np.full((4, 4, 3), np.inf, np.float32), "not finite"),
    (np.full((4, 4, 3), 255.0), r"its floats lie in \[255, 255\]"),
    (np.full((4, 4, 3), -0.1), r"lie in \[-0.1, -0.1\]"),
    (np.array([["a"]]), "its shape is"),
])
def test_check_names_what_is_wrong(wrong, reason):
    with pytest.raises(frames.FrameError, match=f"camera 3: .*{reason}"):
        frames.check(wrong, "camera 3")


def test_one_bad_pixel_among_floats_is_found():
    image = np.full((20, 20, 3), 0.5, np.float32)
    image[7, 3, 1] = np.nan
    with pytest.raises(frames.FrameError, match="not finite"):
        frames.check(image)


def test_raw_frames_have_exactly_their_bytes():
    image = _noise(5, 6)
    np.testing.assert_array_equal(frames.from_bytes(image.tobytes(), (5, 6)), image)
    with pytest.raises(frames.FrameError, match="89 bytes, a raw 6x5 RGB frame has 90"):
        frames.from_bytes(image.tobytes()[:-1], (5, 6))


def _write(path, image):
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm"])
def test_read_image_gives_rgb(tmp_path, suffix):
    image = _noise(9, 7)
    np.testing.assert_array_equal(frames.read_image(_write(tmp_path / f"a.{suffix}", image[..., ::-1])), image)


def test_read_image_repeats_grey_drops_alpha_and_scales_16_bits(tmp_path):
    grey = _noise(9, 7)[..., 0]
    np.testing.assert_array_equal(frames.read_image(_write(tmp_path / "grey.png", grey)),
                                  np.repeat(grey[..., None], 3, axis=-1))
    alpha = np.concatenate([_noise(9, 7), np.zeros((9, 7, 1), np.uint8)], axis=-1)
    np.testing.assert_array_equal(frames.read_image(_write(tmp_path / "alpha.png", alpha)), alpha[..., 2::-1])
    deep = _noise(9, 7).astype(np.uint16) * 257
    np.testing.assert_array_equal(frames.read_image(_write(tmp_path / "deep.png", deep)), deep[..., ::-1] // 257)


def test_read_image_reads_arrays(tmp_path):
    image = _noise(9, 7)
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "b.npy", image / 255.0)
    np.save(tmp_path / "c.npy", image[..., 0])
    np.testing.assert_array_equal(frames.read_image(tmp_path / "a.npy"), image)
    np.testing.assert_array_equal(frames.read_image(tmp_path / "b.npy"), image)
    np.testing.assert_array_equal(frames.read_image(tmp_path / "c.npy")[..., 2], image[..., 0])
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(frames.FrameError, match="d.npy: not a .npy file of numbers, or a truncated one$"):
        frames.read_image(tmp_path / "d.npy")
    (tmp_path / "e.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    with pytest.raises(frames.FrameError, match="e.npy: not a .npy file of numbers, or a truncated one"):
        frames.read_image(tmp_path / "e.npy")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1])
def test_truncated_images_are_refused(tmp_path, suffix, share):
    path = _write(tmp_path / f"a.{suffix}", cv2.GaussianBlur(_noise(60, 80), (0, 0), 2))
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(frames.FrameError, match=f"a.{suffix}: (truncated|damaged|not an image)"):
        frames.read_image(path)


@pytest.mark.parametrize("parameters", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])
def test_whole_jpegs_of_every_kind_are_read(tmp_path, parameters):
    path = tmp_path / "100%d done.jpg"
    assert cv2.imwrite(str(path), _noise(60, 80), parameters)
    assert frames.read_image(path).shape == (60, 80, 3)
    path.write_bytes(path.read_bytes() + b"\0" * 100)  # what some cameras append
    assert frames.read_image(path).shape == (60, 80, 3)


def test_a_thumbnails_end_is_not_the_jpegs_end(tmp_path):
    whole = _write(tmp_path / "a.jpg", _noise(60, 80)).read_bytes()
    thumbnail = _write(tmp_path / "b.jpg", _noise(6, 8)).read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    (tmp_path / "c.jpg").write_bytes(whole[:2] + segment + whole[2:])
    assert frames.read_image(tmp_path / "c.jpg").shape == (60, 80, 3)
    (tmp_path / "c.jpg").write_bytes((whole[:2] + segment + whole[2:])[:-300])
    with pytest.raises(frames.FrameError, match="truncated JPEG"):
        frames.read_image(tmp_path / "c.jpg")


def test_damage_in_the_middle_is_heard(tmp_path, capfd):
    path = _write(tmp_path / "a.jpg", _noise(120, 160))
    data = bytearray(path.read_bytes())
    del data[5000:5600]
    path.write_bytes(bytes(data))
    with pytest.raises(frames.FrameError, match="a.jpg: damaged .*Corrupt JPEG data"):
        frames.read_image(path)
    assert capfd.readouterr().err == ""


def test_what_others_say_meanwhile_is_passed_on(capfd):
    ear = decoder._Ear()
    with ear.alone() as said:
        os.write(2, b"50% done\nCorrupt JPEG data: 99 extraneous bytes before marker 0xd9\n75% done\n")
    assert said == ["Corrupt JPEG data: 99 extraneous bytes before marker 0xd9"]
    assert capfd.readouterr().err == "50% done\n75% done\n"


def test_threads_side_by_side_hear_whose_image_is_damaged(tmp_path, capfd):
    path = _write(tmp_path / "a.jpg", _noise(120, 160))
    whole = path.read_bytes()
    damaged = whole[:5000] + whole[5600:]
    images = [damaged if i % 7 == 3 else whole for i in range(200)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda data: decoder.decode(data)[1], images))
    assert [i for i, words in enumerate(said) if words] == list(range(3, 200, 7))
    assert all("Corrupt JPEG data" in words for words in said[3::7])
    os.write(2, b"still there\n")
    assert capfd.readouterr().err == "still there\n"


def test_a_few_bytes_of_padding_are_no_damage(tmp_path):
    whole = _write(tmp_path / "a.jpg", _noise(60, 80)).read_bytes()
    for padding, fine in ((4, True), (40, False)):
        (tmp_path / "b.jpg").write_bytes(whole[:-2] + b"\x55" * padding + whole[-2:])
        if fine:
            assert frames.read_image(tmp_path / "b.jpg").shape == (60, 80, 3)
        else:
            with pytest.raises(frames.FrameError, match="extraneous bytes"):
                frames.read_image(tmp_path / "b.jpg")


def test_real_images_are_read_resized_alike_and_never_half_read(duckietown):
    random = np.random.default_rng(0)
    paths = sorted(duckietown.glob("*/*.jpg"))
    for path in random.choice(paths, 20, replace=False):
        frame = frames.read_image(path)
        assert frame.shape == (240, 320, 3)
        for size in ((64, 64), (120, 160), (224, 224)):
            difference = np.abs(frames.resize(frame, size).astype(int) - frames.resize(frame, size, opencv=False))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 5e-3  # 240 to 224 has an exact tie in every 150th pixel
        data = path.read_bytes()
        with pytest.raises(frames.FrameError, match="truncated JPEG"):
            frames.decode(data[:random.integers(20, len(data) - 2)])


def test_damaged_png_fails_its_checksum(tmp_path):
    path = _write(tmp_path / "a.png", _noise(60, 80))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(frames.FrameError, match="a.png: corrupt PNG: chunk IDAT"):
        frames.read_image(path)


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "the file is empty"), (b"not a picture at all", "not an image"), (b"\xff\xd8\xff\xd9", "not an image"),
    (b"\xff\xd8\xff", "truncated"), (b"BM", "not an image"), (b"RIFF", "not an image"),
    (b"\x89PNG\r\n\x1a\n", "truncated PNG")])
def test_what_is_no_image_is_refused_by_name(tmp_path, data, reason):
    path = tmp_path / "50%s.jpg"
    path.write_bytes(data)
    with pytest.raises(frames.FrameError, match=f"50%s.jpg: {reason}"):
        frames.read_image(path)
    with pytest.raises(frames.FrameError, match="gone.jpg: cannot be read"):
        frames.read_image(tmp_path / "gone.jpg")
    with pytest.raises(frames.FrameError, match="cannot be read"):
        frames.read_image(tmp_path)
