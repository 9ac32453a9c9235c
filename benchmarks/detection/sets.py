"""The sets of the detection search and report: data, the default network and a β-VAE of each, as int8 files."""
from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import zipfile
from typing import Any, Dict, List, Sequence, Tuple

from absl import flags

from leanood.data import catalog, dataset
from leanood.files import atomic
from leanood.tflite import bundle, runtime

DATA = flags.DEFINE_string("data", None, "the folder with duckietown.zip and donkeycar_track2.zip", required=True)
RUNS = flags.DEFINE_string("runs", "runs", "the folder of the trained networks and of what was scored")
SETS = flags.DEFINE_list("sets", ["duckietown", "donkeycar", "lanes"], "which sets")

SIZE = (120, 160)
SEVERITIES = (1, 3, 5)
STRETCH_S = {"duckietown": 0.0, "donkeycar": 10.0, "lanes": 4.0}  # of test sequences; lane scenes are short
OOD = {"duckietown": ["dark", "green", "red"]}
_ARCHIVES = {"duckietown": "duckietown.zip", "donkeycar": "donkeycar_track2.zip",
             "donkeycar2": "donkeycar_track2_drive2.zip"}
_SPECS: Dict[str, Tuple[str, Dict[str, str]]] = {  # set -> data, options
    "duckietown": ("{work}/duckietown", {"split_csv": "{data}/duckietown_split.csv"}),
    "donkeycar": ("{work}/donkeycar", {"times_csv": "{data}/donkeycar_track2_times.csv"}),
    "donkeycar2": ("{work}/donkeycar2", {"times_csv": "{data}/donkeycar_track2_drive2.csv"}),
    "lanes": ("lanes:frames=24000,scene=100", {}),
}
_BVAE_EPOCHS = {"duckietown": 25, "donkeycar": 3, "donkeycar2": 3, "lanes": 2}


def file(name: str) -> str:
    """The int8 file of a set's network, or of another run's."""
    return os.path.join(RUNS.value, name, "encoder_int8.tflite")


def images(name: str) -> str:
    """The set's folder of images, unpacked where it isn't yet."""
    target = os.path.join(RUNS.value, "data", name)
    if not os.path.isdir(target):
        with zipfile.ZipFile(os.path.join(DATA.value, _ARCHIVES[name])) as packed:
            packed.extractall(target + ".partial")
        os.rename(target + ".partial", target)
    return target


def bvae(name: str) -> str:
    """The name of a set's β-VAE, a run of its own beside the default network."""
    return f"{name}_bvae"


def bvae_flags(name: str) -> List[str]:
    """How a set's β-VAE is trained."""
    return ["--model=bvae", "--augment=light,colour", "--batch_size=16", f"--epochs={_BVAE_EPOCHS[name]}"]


def load(name: str, extra: Sequence[str] = (), run: str = "") -> Tuple[dataset.Dataset, runtime.Runner]:
    """Returns a set and the runner of its network, trained and converted where it is not there yet.

    Args:
      name: of the set.
      extra: training flags of another network than the default one.
      run: its folder in --runs; the set's name by default.
    """
    spec, filled = _opened(name)
    run = run or name
    folder = os.path.join(RUNS.value, run)
    if not os.path.exists(file(run)):
        if not os.path.exists(os.path.join(folder, "encoder.h5")):
            given = [f"--{key}={value}" for key, value in filled.items()]
            _leanood("train", f"--data={spec}", *given, f"--size={SIZE[0]}x{SIZE[1]}", f"--out={folder}", *extra)
        _leanood("convert", f"--model={folder}", "--quantize=int8")
    return load_data(name), runtime.load(bundle.flatbuffer(file(run)))


def load_data(name: str) -> dataset.Dataset:
    """Returns a set's data alone."""
    spec, options = _opened(name)
    options_: Dict[str, Any] = options
    return catalog.open(spec, ood_partitions=OOD.get(name, []), **options_)


def _opened(name: str) -> Tuple[str, Dict[str, str]]:
    """Returns how a set is opened; its archive is unpacked."""
    spec, options = _SPECS[name]
    if name in _ARCHIVES:
        images(name)
    fill = {"work": os.path.join(RUNS.value, "data"), "data": DATA.value}
    return spec.format(**fill), {key: value.format(**fill) for key, value in options.items()}


def write(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    atomic.write_text(path, text)


def _leanood(*arguments: str) -> None:
    main_script = str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "main.py")
    done = subprocess.run([sys.executable, main_script, *arguments], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise OSError(f"leanood {arguments[0]} ended with status {done.returncode}")
