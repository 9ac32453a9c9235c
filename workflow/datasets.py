"""The data set that a step works on: a word, an opened data set, or what an earlier step wrote down."""
from __future__ import annotations

import builtins
import json
import os
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from leanood.data import catalog, dataset, flow, spread, stacks
from leanood.workflow import progress

Data = Union[str, "os.PathLike[str]", dataset.Dataset]
# What the steps take as keyword arguments beside `data`, and the verbs as flags: catalog.open's, by the flags' names.
OPTIONS = ("split_csv", "times_csv", "ood_partitions", "fps", "data_seed", "limit")


def open(data: Optional[Data], options: Mapping[str, Any],  # noqa: A001
         recorded: Mapping[str, Any]) -> Tuple[dataset.Dataset, Dict[str, Any]]:
    """(the data set, how to open it again).

    Args:
      data: a word or path for `catalog.open`, an opened data set, or None: the recorded one.
      options: some of OPTIONS; None counts as not given.
      recorded: what an earlier step wrote down: `spec` and the options of `catalog.open`; may be empty.

    Raises:
      TypeError: if an option is none of OPTIONS.
      ValueError: if there is no data set, or options were given for an opened one.
    """
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"unexpected argument {name!r}; of the data there are {', '.join(OPTIONS)}")
    given = {("seed" if name == "data_seed" else name): absolute(value)
             for name, value in options.items() if value is not None}
    if isinstance(data, dataset.Dataset):
        if given:
            raise ValueError(f"{', '.join(given)}: the data set is open already; open it with them (data.catalog.open)")
        opened = data
    elif data is None and not recorded.get("spec"):
        raise ValueError("--data is needed: the file doesn't say what its network was trained on")
    else:
        base = {} if data is not None else {name: value for name, value in recorded.items() if name != "description"}
        words = {**base, **given, **({} if data is None else {"spec": absolute(os.fspath(data))})}
        opened = catalog.open(words["spec"], **{name: value for name, value in words.items() if name != "spec"})
    return opened, {**{name: absolute(value) for name, value in opened.origin.items()},
                    "description": opened.description}


def split(data: dataset.Dataset, name: str, at_most: Optional[int] = None) -> dataset.Dataset:
    """The in-distribution frames of a split; with `at_most`, so many evenly spread ones.

    Raises:
      ValueError: if there are none.
    """
    chosen = data.where((data.split == name) & ~data.ood)
    if not len(chosen):
        raise ValueError(f"{data.description} has no in-distribution frame in its split {name!r}; give more images, or "
                         "say by --split_csv which are")
    if at_most is not None and len(chosen) > at_most:
        chosen = chosen.where(spread.evenly(len(chosen), at_most))
    return chosen


def load_split(data: dataset.Dataset, name: str, size: Union[Tuple[int, int], flow.Settings],
               at_most: Optional[int] = None) -> Tuple[Any, dataset.Dataset]:
    """The readable in-distribution frames of a split, uint8 [N, h, w, 3], and what is known of each.

    With flow's settings instead of a size, the Stacks of those frames. Unreadable ones are named on stderr. With
    `at_most`, so many evenly spread ones.
    """
    images: Any
    if isinstance(size, flow.Settings):
        images, readable, unreadable = stacks.load(split(data, name), size)
        if at_most is not None and len(images) > at_most:
            chosen = spread.evenly(len(images), at_most)
            images, readable = images[chosen], readable.where(chosen)
    else:
        images, readable, unreadable = split(data, name, at_most).load(size)
    say_unreadable(unreadable)
    if not len(images):
        raise ValueError(f"{data.description} has no readable in-distribution frame in its split {name!r}")
    return images, readable


def say_unreadable(lines: Tuple[str, ...]) -> None:
    """Names unreadable images on stderr: they are counted, never scored."""
    for line in lines:
        progress.say(f"unreadable, left out: {line}")


def motion(config: Mapping[str, Any]) -> Optional[flow.Settings]:
    """How stacks of flows are computed, by a run's config or a detector file's input; None: it takes frames."""
    return flow.Settings.from_json(config["flow"]) if config.get("flow") else None


def sidecar(path: str) -> Dict[str, Any]:
    """What `convert` wrote beside a .tflite, or nothing where there is no such file."""
    beside = os.path.splitext(path)[0] + ".json"
    if not os.path.exists(beside):
        return {}
    try:
        with builtins.open(beside, encoding="utf-8") as stream:  # `open` is this module's own
            return dict(json.load(stream))
    except ValueError as error:
        raise ValueError(f"{beside} is damaged ({error}); convert the network again") from error


def absolute(value: Any) -> Any:
    """A path, or `sequences:PATH`, from the root on, since it is read from other folders later; others as they are."""
    if not isinstance(value, (str, os.PathLike)):
        return value
    value = os.fspath(value)
    prefix, rest = _parted(value)
    return prefix + os.path.abspath(rest) if rest and os.path.exists(rest) else value


def relative(value: Any, folder: str) -> Any:
    """The value, with each path from the root in it as seen from a folder, "./…" or "../…": no machine's places.

    Args:
      value: fit for JSON; mappings and lists are gone through.
      folder: where the file lies.
    """
    if isinstance(value, Mapping):
        return {name: relative(inner, folder) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [relative(inner, folder) for inner in value]
    if not isinstance(value, str):
        return value
    prefix, rest = _parted(value)
    if not os.path.isabs(rest):
        return value
    relative_path = os.path.relpath(rest, os.path.abspath(folder))
    return prefix + (relative_path if relative_path.startswith(os.curdir) else os.path.join(os.curdir, relative_path))


def seen_from(recorded: Any, folder: str) -> Any:
    """What `relative` wrote, its paths from the root again: those that are there, seen from the folder."""
    if isinstance(recorded, Mapping):
        return {name: seen_from(inner, folder) for name, inner in recorded.items()}
    if not isinstance(recorded, str):
        return recorded
    prefix, rest = _parted(recorded)
    place = os.path.normpath(os.path.join(os.path.abspath(folder), rest))
    return prefix + place if rest.startswith(os.curdir) and os.path.exists(place) else recorded


def _parted(value: str) -> Tuple[str, str]:
    prefix = "sequences:" if value.startswith("sequences:") else ""
    return prefix, value[len(prefix):]
