"""A detector file whose graph holds the whole detector, and a drive to watch with it."""
import numpy as np
import pytest


@pytest.fixture(scope="session")
def make_whole(tiny_models, tmp_path_factory):
    """make(quantize, frames): the path of the tiny encoder with a detector at several scales, whole in its graph."""
    from leanood.ood import detector, kl_typical
    from leanood.tflite import bundle, runtime
    from leanood.tflite.rewrite import whole

    def make(quantize, frames):
        model = (tiny_models / f"latent_{quantize}.tflite").read_bytes()
        outputs = runtime.load(model, trusted=True).each(frames)
        starts = np.arange(60) == 0
        measure = kl_typical.KlTypical().fit({name: array[:60] for name, array in outputs.items()}, None, starts)
        judge = detector.Detector.calibrate(measure, {name: array[60:] for name, array in outputs.items()},
                                            starts=starts, window=10)
        judge.use_scales([5, 10, 20], [2.5, 2.0, 1.8])
        folded = whole.fold_all(model, judge)
        fields = {**judge.config(), "kind": "latent", "outputs": ["logvar", "mu"], "fps": 20.0,
                  "input": {"name": "frame", "size": [32, 32], "dtype": "uint8", "scale": 1 / 255}}
        path = tmp_path_factory.mktemp("whole") / f"{quantize}.tflite"
        bundle.write(path, folded, fields, judge.to_arrays())
        return path

    return make


@pytest.fixture(scope="session")
def whole_detector(make_whole):
    """{"float32": path, "int8": path}: calibrated on 120 frames of `drive`."""
    return {quantize: make_whole(quantize, drive(120, 1)) for quantize in ("float32", "int8")}


def drive(count, seed):
    """uint8 [count, 32, 32, 3]: noise over a fixed picture."""
    scenery = np.random.default_rng(0).uniform(60, 190, (8, 8, 3)).repeat(4, 0).repeat(4, 1)
    noise = np.random.default_rng(seed).normal(0, 12, (count, 32, 32, 3))
    return np.clip(scenery + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def watched():
    """uint8 [80, 32, 32, 3]: ordinary, then another picture, then ordinary again."""
    frames = drive(80, 3)
    frames[30:50] = 255 - frames[30:50]
    return frames
