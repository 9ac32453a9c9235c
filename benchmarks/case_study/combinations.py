"""Ten useful recipes on one network: what each gives in bytes, and that both runtimes load it under its output names.

  python benchmarks/case_study/combinations.py OUT --run=runs/lanes --epochs=1 --images=256
  python benchmarks/case_study/combinations.py OUT --model=resnet18_cifar10.h5 \
    --outputs=features=features,logits=logits --size=32x32 --input_scale=signed --data=FOLDER --epochs=1 --images=128

Everything behind OUT is passed on to `leanood compress`. Recipes that are done are not run again.
"""
import json
import pathlib
import subprocess
import sys

from leanood.tflite.timing import results
from leanood.tools import command

RECIPES = (
    "shrink(0.5)+distill(1)+qat",
    "shrink(0.5)+int8",
    "prune(0.8)+dynamic+huffman",
    "prune(0.5, structure='2:4')+pqat",
    "cluster(16)+cqat+huffman",
    "prune(0.6)+cluster(16)+pcqat+huffman",
    "factorize(0.8)+distill(1)+float16",
    "student(strided)+distill(1)+int8",
    "student(separable)+distill(1)+qat",
    "shrink(0.3)+factorize(speedup=1.5)+prune(0.5, method=model)+pqat",
)
RUNTIMES = ("litert", "tflite-runtime")
_LOAD = """
import json, sys
import numpy as np
from leanood.tflite import runtime
runner = runtime.load(sys.argv[1], runtime=sys.argv[2])
tensor = next(iter(runner.inputs.values()))
frame = np.random.default_rng(0).integers(0, 256, tuple(tensor.shape[1:]), dtype=np.uint8)
made = runner(frame if tensor.dtype == np.uint8 else frame.astype(np.float32) / 255)
print(json.dumps({name: array.ravel().tolist() for name, array in made.items()}))
"""


def main(out: str, arguments: list) -> None:
    rows = []
    for i, recipe in enumerate(RECIPES):
        folder = pathlib.Path(out) / f"{i}"
        if not (folder / "report.json").exists():
            _child("-m", "leanood.tools.main", "compress", f"--recipe={recipe}", f"--out={folder}", *arguments)
        report = json.loads((folder / "report.json").read_text())
        sizes = report["sizes"]
        outputs = [json.loads(_child("-c", _LOAD, report["files"]["tflite"], runtime)) for runtime in RUNTIMES]
        apart = max(abs(a - b) / (1e-6 + max(map(abs, outputs[0][name]))) for name in outputs[0]
                    for a, b in zip(outputs[0][name], outputs[1][name]))
        original = next(row for row in sizes if row["model"] == "the original's float32 file")
        rows.append([recipe, sizes[-1]["bytes"], original["bytes"] / sizes[-1]["bytes"],
                     original["gzipped_bytes"] / sizes[-1]["gzipped_bytes"],
                     original["multiply_adds"] / sizes[-1]["multiply_adds"], ",".join(sorted(outputs[0])), apart])
        print(recipe, file=sys.stderr, flush=True)
    headers = ["recipe", "bytes", "smaller", "gzipped", "fewer multiply-adds", "outputs", "runtimes apart"]
    results.write(__file__, [], [dict(zip(headers, row)) for row in rows])
    print(command.table(rows, headers))


def _child(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: {' '.join(arguments[:6])}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
