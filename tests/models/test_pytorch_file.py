"""PyTorch's legacy checkpoints: made here by hand, pickle by pickle; read back; hostile and damaged ones refused."""
import collections
import io
import os
import pickle

import numpy as np
import pytest

from leanood.models import pytorch_file


class _Named:
    """Pickles as a name of another module's."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __reduce__(self):
        raise AssertionError("pickled by reducer_override")


class _Pickler(pickle._Pickler):  # the Python one, whose save() can be told of names
    def persistent_id(self, value):
        return value[1] if isinstance(value, tuple) and value and value[0] == "persistent" else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Named):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, dict) and set(value) == {"call", "arguments"}:
            self.save(value["call"])
            self.save(value["arguments"])
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def checkpoint(path, tensors, *, storages, tail=b"", magic=0x1950A86A20F9469CFC6C):
    stream = io.BytesIO()
    for value in (magic, 1001, {"little_endian": True, "protocol_version": 1001}, tensors, list(storages)):
        _Pickler(stream, 2).dump(value)
    for array in storages.values():
        stream.write(len(array).to_bytes(8, "little") + array.tobytes())
    path.write_bytes(stream.getvalue() + tail)
    return path


def tensor(key, offset, shape, stride, kind="FloatStorage", count=100):
    storage = ("persistent", ("storage", _Named("torch", kind), key, "cpu", count, None))
    return {"call": _Named("torch._utils", "_rebuild_tensor_v2"),
            "arguments": (storage, offset, shape, stride, False, collections.OrderedDict())}


def test_tensors_come_back_with_their_strides_and_types(tmp_path):
    values, numbers = np.arange(24, dtype="<f4"), np.array([7], "<i8")
    path = checkpoint(tmp_path / "a.pth", {"plain": tensor("1", 4, (2, 3), (3, 1)),
                                          "turned": tensor("1", 0, (4, 6), (1, 4)),
                                          "count": tensor("2", 0, (), (), "LongStorage")},
                      storages={"1": values, "2": numbers})
    tensors = pytorch_file.read(path)
    np.testing.assert_array_equal(tensors["plain"], values[4:10].reshape(2, 3))
    np.testing.assert_array_equal(tensors["turned"], values.reshape(6, 4).T)
    assert tensors["count"].shape == ()
    assert tensors["count"] == 7
    assert tensors["count"].dtype == np.int64


def test_what_no_tensor_needs_is_refused_before_it_is_called(tmp_path):
    witness = tmp_path / "called"
    evil = {"call": _Named("os", "mkdir"), "arguments": (str(witness),)}
    path = checkpoint(tmp_path / "evil.pth", {"weight": evil}, storages={})
    with pytest.raises(ValueError, match=r"evil.pth is no PyTorch checkpoint that can be read: it names os.mkdir"):
        pytorch_file.read(path)
    assert not os.path.exists(witness)
    with pytest.raises(ValueError, match="it names torch.HalfStorage, which no tensor needs"):
        pytorch_file.read(checkpoint(tmp_path / "half.pth", {"w": tensor("1", 0, (2,), (1,), "HalfStorage")},
                                     storages={"1": np.zeros(2, "<f4")}))


@pytest.mark.parametrize(("offset", "shape", "stride"), [(0, (5, 5), (5, 1)), (20, (5,), (1,)), (-1, (2,), (1,)),
                                                   (0, (2, 2), (30, 1)), (0, (2,), (-1,))])
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, offset, shape, stride):
    path = checkpoint(tmp_path / "a.pth", {"w": tensor("1", offset, shape, stride)},
                      storages={"1": np.zeros(24, "<f4")})
    with pytest.raises(ValueError, match="reaches beyond its storage of 24"):
        pytorch_file.read(path)


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    whole = checkpoint(tmp_path / "a.pth", {"w": tensor("1", 0, (24,), (1,))}, storages={"1": np.zeros(24, "<f4")})
    data = whole.read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.pth").write_bytes(data[:cut])
        with pytest.raises(ValueError, match="cut.pth is no PyTorch checkpoint that can be read"):
            pytorch_file.read(tmp_path / "cut.pth")
    with pytest.raises(ValueError, match="not those of the legacy format"):
        pytorch_file.read(checkpoint(tmp_path / "zip.pth", {}, storages={}, magic=1))
