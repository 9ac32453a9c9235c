"""4:2:0 and 4:2:2: planes where they should be, with and without OpenCV."""
import cv2
import numpy as np
import pytest

from leanood.data import chroma, frames, lanes


@pytest.fixture(scope="module")
def frame():
    return lanes.Lanes(3).frame(2)


def test_the_planes_are_those_of_opencv(frame):
    ours = np.frombuffer(chroma.to_yuv420(frame), np.uint8).astype(int)
    theirs = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).ravel().astype(int)
    assert len(ours) == chroma.yuv420_bytes(frame.shape[:2]) == frame.shape[0] * frame.shape[1] * 3 // 2
    assert np.abs(ours[:120 * 160] - theirs[:120 * 160]).max() <= 1
    # OpenCV takes the chroma of every other pixel; the mean over each four differs from it at edges alone.
    assert np.median(np.abs(ours[120 * 160:] - theirs[120 * 160:])) <= 1


def test_picked_chroma_is_that_of_opencv(frame):
    theirs = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), cv2.COLOR_YUV2RGB_I420).astype(int)
    assert np.abs(chroma.subsampled(frame, "4:2:0", picked=True).astype(int) - theirs).max() <= 4
    assert np.abs(chroma.subsampled(frame, "4:2:0").astype(int) - theirs).max() > 20  # means, at edges


def test_with_and_without_opencv_is_the_same(frame):
    data = chroma.to_yuv420(frame)
    fast, slow = (chroma.from_yuv420(data, frame.shape[:2], opencv=opencv) for opencv in (True, False))
    assert np.abs(fast.astype(int) - slow).max() <= 1
    np.testing.assert_array_equal(slow, chroma.subsampled(frame, "4:2:0"))


@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2"])
@pytest.mark.parametrize("size", [(9, 7), (2, 2), (1, 5)])
def test_grey_survives_at_any_size(sampling, size):
    grey = np.random.default_rng(0).integers(0, 256, size + (1,), np.uint8).repeat(3, axis=2)
    for picked in (True, False):
        assert np.abs(chroma.subsampled(grey, sampling, picked).astype(int) - grey).max() <= 1
    again = chroma.from_yuv420(chroma.to_yuv420(grey), size)
    assert again.shape == grey.shape


def test_colour_is_shared_by_neighbours():
    stripes = np.zeros((4, 8, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200  # red and blue columns
    halved = chroma.subsampled(stripes, "4:2:2").astype(int)
    red_less_luma = halved[..., 0] - halved @ [0.299, 0.587, 0.114]
    assert np.abs(red_less_luma[:, ::2] - red_less_luma[:, 1::2]).max() < 30  # it was 200 apart
    assert np.abs(chroma.subsampled(stripes, "4:4:4").astype(int) - stripes).max() <= 3


def test_mistakes_are_named(frame):
    with pytest.raises(frames.FrameError, match="7 bytes, a raw 160x120 YUV 4:2:0 frame has 28800"):
        chroma.from_yuv420(b"1234567", (120, 160))
    with pytest.raises(ValueError, match="'4:1:0' is none of 4:4:4"):
        chroma.subsampled(frame, "4:1:0")
