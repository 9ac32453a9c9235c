"""Early statistics, recomputed with NumPy and OpenCV from their definitions, and what moves them."""
import cv2
import numpy as np
import pytest
import tf_keras as keras

from leanood.models import filter_bank

LUMA = np.array([0.299, 0.587, 0.114])
OPPONENT = np.array([LUMA, [1, -1, 0], [0, -1, 1]])
LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], float)


def frame(seed=0, size=(48, 64)):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5).astype(np.float32) / 255


def statistics(image):
    return filter_bank.statistics(np.asarray(image, np.float32)[np.newaxis]).numpy()[0]


def filtered(image, kernel):
    return cv2.filter2D(image, cv2.CV_64F, kernel)[1:-1, 1:-1]


def blocks(image, size):
    """Means of size×size blocks at every place they fit, [h - size + 1, w - size + 1, 3]."""
    return np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1)).mean((-1, -2))


def by_definition(image, strides=(1, 2, 3)):
    image = image.astype(np.float64)
    step = strides[0]
    luma = (image @ LUMA)[1:-1, 1:-1][::step, ::step]
    block = blocks(image, 2)[:-1, :-1][::step, ::step]
    tails = [np.maximum(0.1 - luma, 0).mean(), np.maximum(luma - 0.85, 0).mean()]
    values = [*block.mean((0, 1)), *block.std((0, 1)), *tails]
    magnitudes, peaks = [], []
    for size, stride in zip((1, 2, 4), strides):
        mean = blocks(image, size)  # the frame at this scale, at every offset
        ends = [slice(size, -size), slice(2 * size, None), slice(0, -2 * size)]
        inside, after, before = ends
        laplacian = 4 * mean[inside, inside] - mean[before, inside] - mean[after, inside] - mean[inside, before] \
            - mean[inside, after]
        response = laplacian[::stride, ::stride] @ OPPONENT.T
        magnitudes += [*np.abs(response).mean((0, 1))]
        peaks += [*(response ** 4).mean((0, 1)) ** 0.25]
    across = filtered(image @ LUMA, np.array([[0, 0, 0], [-1, 2, -1], [0, 0, 0]], float))[::step, ::step]
    down = filtered(image @ LUMA, np.array([[0, -1, 0], [0, 2, 0], [0, -1, 0]], float))[::step, ::step]
    return np.array([*values, *magnitudes, *peaks, np.abs(across).mean(0).max(), np.abs(down).mean(1).max()])


@pytest.mark.parametrize("seed", range(3))
def test_they_are_what_they_are_defined_as(seed):
    image = frame(seed)
    np.testing.assert_allclose(statistics(image), by_definition(image), rtol=2e-4, atol=2e-5)
    assert len(statistics(image)) == filter_bank.FRAME


def layout_by_definition(image):
    """Of a 48×64 frame (strides 1, 2 and 3): the bands' statistics in one list, band by band."""
    image = image.astype(np.float64)
    luma = image @ LUMA
    right, diagonal = np.array([[0, 0, 0], [-1, 0, 1], [0, 0, 0]]) / 2, np.diag([-0.5, 0, 0.5])
    gradients = np.stack([filtered(luma, kernel) for kernel in (right, right.T, diagonal, diagonal[:, ::-1])], axis=-1)
    scales = []
    for size, stride in zip((1, 2, 4), (1, 2, 3)):
        mean = blocks(image, size)
        inside = mean[size:-size, size:-size]
        around = [mean[2 * size:, size:-size], mean[:-2 * size, size:-size], mean[size:-size, 2 * size:],
                  mean[size:-size, :-2 * size]]
        scales.append((4 * inside - sum(around))[::stride, ::stride] @ OPPONENT.T)

    def cells(values):
        h, w = values.shape[0] // 9, values.shape[1] // 10
        rows, columns = values.shape[0] // h, values.shape[1] // w
        return values[:rows * h, :columns * w].reshape(rows, h, columns, w, -1).swapaxes(1, 2).reshape(
            rows, columns, h * w, -1)

    def energy(values):
        return np.log((cells(values) ** 2).mean(2) + 1e-6)

    colour = cells(blocks(image, 2)[:-1, :-1])
    parts = [np.concatenate([colour.mean(2), colour.std(2), energy(scales[0]), energy(gradients)], axis=-1),
             energy(scales[1]), energy(scales[2])]
    bands = []
    for band in range(3):
        for part in parts:
            height = len(part) // 3
            strip = part[band * height:(band + 1) * height].reshape(-1, part.shape[-1])
            bands += [*strip.mean(0), *strip.std(0)]
    return np.array(bands)


@pytest.mark.parametrize("seed", range(2))
def test_the_layout_is_what_it_is_defined_as(seed):
    image = frame(seed)
    result = filter_bank.layout(image[np.newaxis]).numpy()[0]
    np.testing.assert_allclose(result, layout_by_definition(image), rtol=2e-3, atol=3e-3)
    assert len(result) == filter_bank.SIZE - filter_bank.FRAME


def test_upside_down_moves_the_layout_and_not_the_frames_colours():
    image = frame(1)
    image[24:] *= 0.5
    turned = image[::-1]
    np.testing.assert_allclose(statistics(turned)[:6], statistics(image)[:6], rtol=0.02)
    upright, over = (filter_bank.layout(np.ascontiguousarray(picture)[np.newaxis]).numpy().reshape(3, -1)
                     for picture in (image, turned))
    assert upright[0, 0] > 1.5 * over[0, 0]  # the top's red
    np.testing.assert_allclose(upright[0, :3], over[2, :3], atol=0.03)


def test_both_come_in_one_output():
    image = frame(2)[np.newaxis]
    both = filter_bank.early(image).numpy()
    assert both.shape == (1, filter_bank.SIZE)
    np.testing.assert_allclose(both[:, :filter_bank.FRAME], filter_bank.statistics(image), rtol=1e-5)
    np.testing.assert_allclose(both[:, filter_bank.FRAME:], filter_bank.layout(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "strides"), [((32, 40), (1, 1, 2)), ((120, 160), (3, 4, 9)),
                                               ((224, 230), (6, 8, 16))])
def test_large_frames_are_sampled_more_widely(size, strides):
    image = frame(size=size)
    np.testing.assert_allclose(statistics(image), by_definition(image, strides), rtol=2e-4, atol=2e-6)


def test_axis_by_axis_is_the_convolution(monkeypatch):
    image = frame(size=(121, 163))[np.newaxis]
    quick = filter_bank.early(image)
    monkeypatch.setattr(filter_bank, "_BY_AXIS", 0)
    np.testing.assert_allclose(quick, filter_bank.early(image), rtol=1e-4, atol=1e-5)


def test_light_scales_them_and_a_flat_frame_has_no_texture():
    image = frame() * 0.5 + 0.2  # away from the tails
    some = np.r_[0:6, 8:filter_bank.FRAME]
    np.testing.assert_allclose(statistics(image * 0.7)[some], 0.7 * statistics(image)[some], rtol=1e-3, atol=1e-5)
    flat = statistics(np.full((48, 64, 3), 0.5))
    np.testing.assert_allclose(flat[8:], 0, atol=1e-5)


def test_a_dead_column_moves_the_columns_number_most():
    image = frame()
    dead = image.copy()
    dead[:, 30] = 0
    ratio = statistics(dead)[8:] / statistics(image)[8:]
    assert np.argmax(ratio) == filter_bank.FRAME - 8 - 2


def test_a_few_bright_pixels_move_the_fourth_power_more_than_the_mean():
    image = frame() * 0.3
    rain = image.copy()
    rain[np.random.default_rng(0).random((48, 64)) < 0.01] = 1
    ratio = statistics(rain)[:18] / np.maximum(statistics(image)[:18], 1e-9)
    assert ratio[17] > ratio[8] > 1


def test_they_join_a_model_and_leave_it_alone():
    inputs = keras.Input((32, 40, 3), name="frame")
    model = keras.Model(inputs, {"mu": keras.layers.Dense(2, name="mu")(keras.layers.Flatten()(inputs))})
    joined = filter_bank.with_statistics(model)
    image = frame(size=(32, 40))[np.newaxis]
    np.testing.assert_array_equal(joined(image)["mu"], model(image)["mu"])
    np.testing.assert_allclose(joined(image)["early"], filter_bank.early(image), rtol=1e-4, atol=1e-5)
    assert list(model.output) == ["mu"]
    with pytest.raises(ValueError, match="already has an output named 'early'"):
        filter_bank.with_statistics(joined)


def test_too_small_an_input_is_refused():
    inputs = keras.Input((12, 40, 3), name="frame")
    with pytest.raises(ValueError, match=r"h and w at least 16, but the model's is \[None, 12, 40, 3\]"):
        filter_bank.with_statistics(keras.Model(inputs, {"mu": keras.layers.Flatten()(inputs)}))
