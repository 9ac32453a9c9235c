"""Damages detector files and plain .tflite files at random, and loads and runs them in a child process.

    python benchmarks/robustness/fuzz_detector_file.py --mutations=10000 detector.tflite

Three kinds of damage take turns by their share: bytes of the detector file (70%; each change must be refused: every
byte is under a hash), its description or arrays with all hashes made right again (15%; they must be refused or work),
and bytes of the graph alone, a plain .tflite (15%; it must be refused or run). Exits with 1 if one ends in a crash, a
hang, an error that is not ours or of several lines, or if a changed detector file is accepted.
"""
from __future__ import annotations

import collections
import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
import warnings
from typing import Any, Dict, List, Tuple

import numpy as np
from absl import app, flags

from leanood.files import child as child_process
from leanood.tflite import bundle, probe, runtime
from leanood.tflite.archive import appendix, arrays
from leanood.tflite.timing import results
from leanood.tools import command

_MUTATIONS = flags.DEFINE_integer("mutations", 10_000, "how many files to damage", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the damage")
_FROM = flags.DEFINE_integer("from", None, "internal: the child's first mutation")

_TIMEOUT_S = 180.0
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(runtime.__file__)))
_JSON_VALUES = (None, True, -1, 0, 1, 3.5, 1e308, 10**15, "", "x", "\x00", [], [1, 2], ["a"], {}, {"size": [1, 1]},
                [[]])


def kind_of(number: int) -> str:
    """Which damage mutation `number` does: of twenty, fourteen, three and three."""
    return "file" if number % 20 < 14 else "parts" if number % 20 < 17 else "graph"


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """The bytes with one to four changes: bits, bytes, words, pieces cut out, doubled, swapped, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        place, length = int(random.integers(len(changed))), int(2 ** random.uniform(0, 12))
        action = random.integers(7)
        if action == 0:
            changed[place] ^= 1 << int(random.integers(8))
        elif action == 1:
            changed[place] = int(random.integers(256))
        elif action == 2:
            word = (0, 1, -1, 2**31 - 1, -2**31, 65536)[random.integers(6)]
            changed[place:place + 4] = int(word).to_bytes(4, "little", signed=True)[:len(changed) - place]
        elif action == 3:
            del changed[place:place + length]
        elif action == 4:
            changed[place:place] = changed[place:place + length]
        elif action == 5:
            other = int(random.integers(len(changed)))
            changed[place:place + length], changed[other:other + length] = (changed[other:other + length],
                                                                            changed[place:place + length])
        else:
            del changed[max(8, place):]
        if len(changed) < 16:
            break
    return bytes(changed)


def rehashed(path: str, random: np.random.Generator) -> bytes:
    """The detector file with one thing of its description or its arrays exchanged, and every hash made right."""
    parts = bundle.read(path)
    fields: Dict[str, Any] = json.loads(json.dumps(parts.detector))
    numbers = {name: array.copy() for name, array in parts.arrays.items()}
    if random.integers(2):
        place: Any = fields
        while True:
            key = list(place)[random.integers(len(place))]
            if not isinstance(place[key], dict) or not place[key] or random.integers(2):
                break
            place = place[key]
        if random.integers(4):
            place[key] = _JSON_VALUES[random.integers(len(_JSON_VALUES))]
        else:
            del place[key]
    else:
        name = list(numbers)[random.integers(len(numbers))]
        array = numbers[name]
        changes = (lambda: array[:0], lambda: array[..., None], lambda: array.astype(str), lambda: array.ravel(),
                   lambda: np.float64(np.inf) if array.dtype.kind == "U" else array * 0 - 1, lambda: array[::-1],
                   lambda: np.zeros(3, np.int8), lambda: np.array("x"), lambda: np.full(array.shape, 2**62),
                   lambda: np.full(array.shape, np.inf), lambda: np.zeros((1, 0, 2)))
        numbers[name] = np.ascontiguousarray(changes[random.integers(len(changes))]())
        if not random.integers(5):
            del numbers[name]
    calibration = arrays.to_npz(numbers)
    digests = {"model": hashlib.sha256(parts.model).hexdigest(), "arrays": hashlib.sha256(calibration).hexdigest(),
               "detector": "0" * 64}
    fields["sha256"] = digests
    text = json.dumps(fields)
    text = text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest())
    members = [appendix.Member("detector.json", text.encode()), appendix.Member("calibration.npz", calibration)]
    return parts.model + appendix.build(members, len(parts.model))


def outcome(path: str, number: int, seed: int, folder: str) -> str:
    """One mutation: "refused", "ran", "unchanged", or "WRONG: …"."""
    random = np.random.default_rng([seed, number])
    kind = kind_of(number)
    with open(path, "rb") as file:
        data = file.read()
    try:
        source = bundle.flatbuffer(path) if kind == "graph" else data
        mutated = rehashed(path, random) if kind == "parts" else damaged(source, random)
    except ValueError as error:  # an array that the writer itself refuses
        return "refused" if _ours(error) else f"WRONG: {traceback.format_exc()}"
    if mutated == source:
        return "unchanged"
    target = os.path.join(folder, "mutated.tflite")
    with open(target, "wb") as file:
        file.write(mutated)
    try:
        if kind == "graph":
            runner = runtime.load(target)
            for _ in range(2):
                runner({name: np.zeros(tensor.shape, tensor.dtype) for name, tensor in runner.inputs.items()})
        else:
            detector = bundle.load(target)
            if kind == "file":
                return "WRONG: a changed file was accepted"
            for _ in range(3):
                detector(random.integers(0, 256, (*detector.size, 3), dtype=np.uint8))
        return "ran"
    except ValueError as error:
        if not _ours(error) or "\n" in str(error):
            return f"WRONG: {traceback.format_exc()}"
        return "refused"
    except Exception:  # noqa: BLE001 - the finding
        return f"WRONG: {traceback.format_exc()}"


def _ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return os.path.abspath(frames[-1].filename).startswith(_PACKAGE + os.sep)


def worker(path: str, first: int, count: int, seed: int) -> None:
    """The child: a line a mutation."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="leanood-fuzz-") as folder:
        for number in range(first, count):
            print(json.dumps([number, outcome(path, number, seed, folder)]), flush=True)


def fuzz(path: str, count: int, seed: int) -> Tuple[Dict[Tuple[str, str], int], List[str]]:
    """(how often each kind of damage had each outcome, what went wrong)."""
    tally: Dict[Tuple[str, str], int] = collections.Counter()
    wrong, number = [], 0
    while number < count:
        command_line = [sys.executable, os.path.abspath(__file__), path, f"--mutations={count}", f"--seed={seed}",
                        f"--from={number}"]
        child = subprocess.Popen(command_line, stdout=subprocess.PIPE, bufsize=0, stderr=subprocess.DEVNULL,
                                 env=child_process.environment())
        stream: Any = child.stdout
        while number < count:
            line = stream.readline() if select.select([stream], [], [], _TIMEOUT_S)[0] else b""
            if not line:  # it ended, or hangs
                child.kill()
                wrong.append(f"mutation {number} ({kind_of(number)}): the child {probe.end(child.wait())}")
                tally[kind_of(number), "WRONG"] += 1
                number += 1
                break
            _, result = json.loads(line)
            if result.startswith("WRONG"):
                wrong.append(f"mutation {number} ({kind_of(number)}): {result}")
            tally[kind_of(number), result.split(":")[0]] += 1
            number += 1
        child.wait()
    return tally, wrong


def main(argv: List[str]) -> int:
    if len(argv) != 2:
        raise app.UsageError("give one detector file")
    if _FROM.value is not None:
        worker(argv[1], _FROM.value, _MUTATIONS.value, _SEED.value)
        return 0
    tally, wrong = fuzz(argv[1], _MUTATIONS.value, _SEED.value)
    outcomes = ("refused", "ran", "unchanged", "WRONG")
    rows = [[kind, *(tally.get((kind, result), 0) for result in outcomes)] for kind in ("file", "parts", "graph")]
    print(command.table(rows, ["damage to", *outcomes]))
    for text in wrong[:20]:
        print(text)
    count = {kind: sum(number for (what, _), number in tally.items() if what == kind) for kind, *_ in rows}
    return results.write(__file__, [results.Figure(
        f"{_MUTATIONS.value:,} damaged files: crashes, hangs, foreign errors, changed files accepted",
        f"{len(wrong)} ({count['file']:,} files, {count['parts']:,} rehashed parts, {count['graph']:,} plain graphs)",
        "0", not wrong)], rows)


if __name__ == "__main__":
    app.run(main)
