"""TensorFlow Datasets by name (`tfds:cifar10`): labelled images, kept encoded in memory (extra `tfds`)."""
from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np

from leanood.data import dataset, frames, splits


def open(name: str, seed: int = 0) -> dataset.Dataset:  # noqa: A001
    """The data set of all images of a TensorFlow Datasets name; its labels are the partitions.

    Its own "test" split is the test split, the rest is dealt out as train, calibration and validation; where it has no
    "test", all four are dealt out. It is downloaded on first use.

    Args:
      name: e.g. "cifar10" or "cifar10:3.0.2".
      seed: of the deal.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(f"tfds:{name}: needs TensorFlow Datasets: pip install 'leanood[tfds]' ({error})") from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    except Exception as error:  # noqa: BLE001 - TensorFlow Datasets raises many kinds
        raise ValueError(f"tfds:{name}: cannot be prepared ({' '.join(str(error).split())[:200]})") from None
    features = builder.info.features
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if len(images) != 1:
        raise ValueError(f"tfds:{name}: it has {len(images)} image features, one is needed")
    image, label = images[0], labels[0] if len(labels) == 1 else ""
    encoded: List[bytes] = []
    partition: List[str] = []
    names: List[str] = []
    for split in sorted(builder.info.splits):
        stream = builder.as_dataset(split=split, decoders={image: tfds.decode.SkipDecoding()}, shuffle_files=False)
        for number, example in enumerate(tfds.as_numpy(stream)):
            encoded.append(example[image])
            partition.append(features[label].int2str(int(example[label])) if label else "all")
            names.append(f"{split}/{number:07d}")
    return _dataset(name, encoded, np.array(partition), tuple(names), seed)


def _dataset(name: str, encoded: List[bytes], partition: np.ndarray, names: Tuple[str, ...],
             seed: int) -> dataset.Dataset:
    split = splits.by_blocks(partition, names, seed)
    dealt = np.array([not n.startswith("test/") for n in names], bool)
    if not dealt.all():
        split[dealt] = splits.by_blocks(partition[dealt], [n for n, d in zip(names, dealt) if d], seed,
                                        shares=splits.SHARES_BESIDE_TEST)
        split[~dealt] = "test"

    def read(i: int) -> np.ndarray:
        data: Any = encoded[i]
        return frames.decode(data, names[i]) if isinstance(data, bytes) else frames.check(data, names[i])

    return dataset.Dataset(
        names=names, partition=partition, sequence=np.full(len(names), -1, np.int64), split=split,
        ood=np.zeros(len(names), bool), partition_kind="subset", fps=0.0, read=read,
        description=f"tfds:{name} ({len(names)} images)")
