"""Flowers-102's original layout: its tables fix classes and splits; damaged tables are named."""
import cv2
import numpy as np
import pytest
from scipy import io

from leanood.data import catalog

COUNT = 24
LABELS = np.arange(COUNT) % 3 + 1


@pytest.fixture
def flowers(tmp_path):
    (tmp_path / "jpg").mkdir()
    for number in range(1, COUNT + 1):
        cv2.imwrite(str(tmp_path / "jpg" / f"image_{number:05d}.jpg"), np.full((8, 8, 3), 10 * number, np.uint8))
    io.savemat(tmp_path / "imagelabels.mat", {"labels": LABELS[None]})
    io.savemat(tmp_path / "setid.mat", {"trnid": np.arange(1, 7)[None], "valid": np.arange(7, 19)[None],
                                        "tstid": np.arange(19, 25)[None]})
    return tmp_path


def test_the_tables_give_classes_and_splits(flowers):
    data = catalog.open(str(flowers))
    assert len(data) == COUNT
    assert data.partition.tolist() == [f"class{label:03d}" for label in LABELS]
    counts = dict(zip(*np.unique(data.split, return_counts=True)))
    assert counts == {"train": 6, "calibration": 6, "validation": 6, "test": 6}
    for split in ("calibration", "validation"):  # each class in both
        assert set(data.partition[data.split == split]) == {"class001", "class002", "class003"}
    assert abs(int(data.read(4).mean()) - 50) <= 2
    assert data.description == "Flowers-102 (24 images)"


@pytest.mark.parametrize(("name", "table", "text"), [
    ("setid.mat", {"trnid": np.array([[99]]), "valid": np.array([[1]]), "tstid": np.array([[2]])}, "image 99, there"),
    ("setid.mat", {"trnid": np.array([[1]]), "valid": np.array([[1]]), "tstid": np.array([[2]])}, "another set has"),
    ("setid.mat", {"x": np.array([[1]])}, "has no table 'trnid'"),
    ("imagelabels.mat", {"labels": np.arange(1, 40)[None]}, None)])
def test_tables_that_do_not_fit_are_named(flowers, name, table, text):
    io.savemat(flowers / name, table)
    if text is None:  # more labels than images: what isn't there is said when it is read
        assert len(catalog.open(str(flowers))) == 39
        return
    with pytest.raises(ValueError, match=text):
        catalog.open(str(flowers))


def test_a_damaged_table_and_missing_images_are_named(flowers):
    (flowers / "jpg" / "image_00001.jpg").unlink()
    with pytest.raises(ValueError, match="no jpg/image_00001.jpg; unpack 102flowers.tgz"):
        catalog.open(str(flowers))
    (flowers / "imagelabels.mat").write_bytes(b"broken" * 40)
    with pytest.raises(ValueError, match="imagelabels.mat is damaged"):
        catalog.open(str(flowers))
