"""Files made to crash, to fill memory, or to be run; and a GPU that has only been asked."""
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from leanood.files import child
from leanood.tflite import bundle, delegates, flatbuffer, probe, runtime, tensors
from leanood.tflite.archive import arrays, description


class _Asked:
    """A backend that computes when it is read, as a GPU does."""

    thread_bound, runtime, accelerator, placement = False, "test", "gpu", "test"
    inputs = {"x": tensors.Tensor("x", 0, (1, 2), np.float32, 0.0, 0)}
    outputs = {"y": tensors.Tensor("y", 1, (1, 2), np.float32, 0.0, 0)}

    def invoke(self):
        pass

    def wait(self):
        time.sleep(0.05)


def test_an_invocation_that_is_timed_is_an_invocation_that_has_computed():
    runner = runtime.Runner(_Asked())
    begin = time.perf_counter()
    runner.invoke()
    assert time.perf_counter() - begin >= 0.05


def test_the_gpu_is_waited_for_by_reading_its_smallest_output():
    read = []

    class Buffer:
        def __init__(self, name):
            self.name = name

        def read(self, count, dtype):
            read.append(self.name)
            return np.zeros(count, dtype)

    backend = object.__new__(delegates.GpuBackend)
    backend.outputs = {"large": tensors.Tensor("large", 0, (1, 500), np.float32, 0.0, 0),
                       "small": tensors.Tensor("small", 1, (1, 3), np.float32, 0.0, 0)}
    backend._out = {name: Buffer(name) for name in backend.outputs}
    backend.wait()
    assert read == ["small"]


@pytest.mark.parametrize("module", ["numpy", "json", "runpy", "leanood"])
def test_children_import_nothing_from_the_current_folder(tmp_path, tiny_models, module):
    (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    code = ("from leanood.tflite import probe; import sys; "
            "print(probe.placement(sys.argv[1], 'litert'))")
    folder = os.path.dirname(os.path.dirname(os.path.abspath(probe.__file__)))
    environment = dict(child.environment(), PYTHONPATH=os.pathsep.join([os.path.dirname(folder), *sys.path[1:]]))
    # The parent itself leaves the folder out; what it starts must too.
    done = subprocess.run([sys.executable, "-c", "import sys; sys.path.remove(''); " + code,
                            str(tiny_models / "latent_float32.tflite")], cwd=tmp_path, env=environment,
                           capture_output=True, timeout=120)
    assert done.stdout.startswith(b"cpu"), done.stderr
    assert not (tmp_path / "was_run").exists()


def test_a_description_is_measured_before_it_is_parsed():
    begin = time.process_time()
    with pytest.raises(ValueError, match="larger than 4 MiB"):
        description.parse(b"[" + b"1," * (20 << 20) + b"1]")
    assert time.process_time() - begin < 0.5


def test_a_file_with_a_large_description_is_refused_unread(tiny_detector, tmp_path, monkeypatch):
    monkeypatch.setattr(description, "LIMIT", 8 << 20)
    parts = bundle.read(tiny_detector)
    path = tmp_path / "large.tflite"
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(path, parts.model, {**fields, "note": "x" * (5 << 20)}, parts.arrays)
    monkeypatch.undo()
    with pytest.raises(bundle.DetectorFileError, match=r"detector\.json' has an impossible place or size"):
        bundle.read(path)


def test_a_type_that_numpy_does_not_know_is_one_line():
    data = arrays.to_npz({"x": np.zeros(3, np.float32)})
    from io import BytesIO
    from zipfile import ZipFile
    member = ZipFile(BytesIO(data)).read("x.npy").replace(b"<f4", b"<f3")
    with pytest.raises(ValueError, match="is of an unknown type"):
        arrays._array("x.npy", member)


def _model_with_metadata(entries, size):
    """A flatbuffer whose metadata name one large buffer over and over."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [schema.SubGraphT()], []
    graph = model.subgraphs[0]
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.zeros(size, np.uint8)
    model.metadata = []
    for i in range(entries):
        entry = schema.MetadataT()
        entry.name, entry.buffer = f"m{i}", 1
        model.metadata.append(entry)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_metadata_that_name_one_buffer_over_and_over_are_refused():
    assert list(flatbuffer.read(_model_with_metadata(2, 1000)).metadata) == ["m0", "m1"]
    begin = time.process_time()
    with pytest.raises(flatbuffer.FlatbufferError, match="over and over"):
        flatbuffer.read(_model_with_metadata(2000, 1 << 20))
    assert time.process_time() - begin < 2


def test_the_arena_of_a_long_graph_takes_linear_time():
    count = 40_000
    tensor = flatbuffer.TensorInfo("t", "float32", (10,), (), (), False)
    chain = [flatbuffer.Operator("ABS", 1, False, (i,), (i + 1,)) for i in range(count)]
    graph = flatbuffer.Graph([tensor] * (count + 1), chain, (0,), (count,), 1, {})
    begin = time.process_time()
    assert graph.arena_bytes() == 80
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("read", [bundle.load, bundle.flatbuffer, runtime.load, probe.check])
def test_a_pipe_or_a_folder_is_no_file(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.tflite")  # whose reader would wait for ever
    for path in (tmp_path / "pipe.tflite", tmp_path):
        with pytest.raises(OSError, match="it is a pipe, a device or a folder, not a file"):
            read(str(path), *(["auto"] if read is probe.check else []))
