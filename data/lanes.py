"""Procedural lane-following camera scenes: the data set that needs no download.

An endless stream of drives ("scenes") of 200 to 600 frames through one place, at 20 frames a second. Frame i of a seed
is a pure function of (seed, i): nothing is stored, any part can be drawn alone. The scenes take turns in the two
generative factors of Ramakrishna et al., arXiv 2108.11800, at that paper's training levels: in `brightness` scenes the
brightness level wanders within ±0.5, in `rain` scenes the density of rain within 0 to 0.003. Each factor is a
partition; a frame is typical in both, so the partition kind is "factor".
"""
from __future__ import annotations

import functools
from typing import Dict, Tuple

import numpy as np

from leanood.data import dataset, lighting, road, splits, weather

FPS = 20.0
SIZE = (120, 160)
FRAMES = 12000  # of the data set, unless the word says otherwise
SCENE = 400  # a scene's mean length in frames
KINDS = ("brightness", "rain")
BRIGHTNESS = 0.5
RAIN = 0.003


class Lanes:
    """The stream of a seed.

    Args:
      seed: of the drives.
      size: (H, W) of the frames.
      world: of the place that they lead through; streams of other seeds in the same world look alike.
      scene: the scenes' mean length in frames; their lengths lie within half and one and a half of it.
    """

    def __init__(self, seed: int = 0, size: Tuple[int, int] = SIZE, *, world: int = 0, scene: int = SCENE) -> None:
        if seed < 0 or world < 0:
            raise ValueError(f"seed, world: {seed} and {world}, neither may be negative")
        if scene < 2 or min(size) < 16:
            raise ValueError(f"lanes: scenes of {scene} frames at {size[1]}x{size[0]}; at least 2, at 16x16")
        self.seed, self.size, self.world, self.scene = seed, (size[0], size[1]), world, scene
        self._road = functools.lru_cache(maxsize=64)(self._make_road)
        self._factor = functools.lru_cache(maxsize=64)(self._make_factor)
        self._half = functools.lru_cache(maxsize=4096)(self._make_half)

    def place(self, i: int) -> Tuple[int, int]:
        """(scene, time in it) of frame i. Scenes 2p and 2p + 1 share 2 · `scene` frames, so that no sum is needed."""
        pair, time = divmod(i, 2 * self.scene)
        first = self._half(pair)
        return (2 * pair, time) if time < first else (2 * pair + 1, time - first)

    def kind(self, scene: int) -> str:
        """The factor that varies in a scene, one of KINDS."""
        return KINDS[scene % 2]

    def level(self, i: int) -> float:
        """The factor's level in frame i: brightness within ±0.5, or the density of rain within 0 to 0.003."""
        scene, time = self.place(i)
        slow, fast, a, b = self._factor(scene)
        wander = np.sin(2 * np.pi * time / slow + a + 1.3 * np.sin(2 * np.pi * time / fast + b))
        return float(BRIGHTNESS * wander if self.kind(scene) == "brightness" else RAIN * 0.5 * (1.0 + wander))

    def frame(self, i: int) -> np.ndarray:
        """Frame i, uint8 [H, W, 3]."""
        scene, time = self.place(i)
        clear = self._road(scene).frame(time)
        if self.kind(scene) == "brightness":
            return lighting.brightness(clear, self.level(i))
        return weather.rain(clear, self.level(i), seed=scene, time=time)

    def frames(self, start: int, count: int) -> np.ndarray:
        """Frames start to start + count, uint8 [count, H, W, 3]."""
        out = np.empty((count,) + self.size + (3,), np.uint8)
        for i in range(count):
            out[i] = self.frame(start + i)
        return out

    def scenes(self, start: int, count: int) -> np.ndarray:
        """int64 [count]: the scenes of frames start to start + count."""
        return np.array([self.place(i)[0] for i in range(start, start + count)], np.int64)

    def _make_road(self, scene: int) -> road.Road:
        return road.Road((self.seed, scene, 41), self.size, self.world)

    def _make_half(self, pair: int) -> int:
        return int(np.random.default_rng((self.seed, pair, 42)).integers(self.scene // 2, self.scene * 3 // 2 + 1))

    def _make_factor(self, scene: int) -> Tuple[float, float, float, float]:
        rng = np.random.default_rng((self.seed, scene, 43))
        slow, fast = rng.uniform(0.5, 1.0) * self.scene, rng.uniform(0.5, 0.9) * self.scene
        return slow, fast, rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)


def open(options: str = "", seed: int = 0) -> dataset.Dataset:  # noqa: A001
    """The data set of a stream's frames; splits by whole scenes, each with both factors.

    Args:
      options: "name=value,…" of frames (12000), start (0), seed, world (0), size (120x160, height by width),
        scene (400; a stream of fewer than 8,000 frames has 20 shorter ones).
      seed: if the options name none.

    Frames far apart in `start`, or of other seeds, are new drives in the same world; another world is another place.
    """
    values: Dict[str, int] = {"frames": FRAMES, "start": 0, "seed": seed, "world": 0}
    size = SIZE
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        try:
            if name == "size":
                height, width = (int(number) for number in value.lower().split("x"))
                size = (height, width)
            elif name in values or name == "scene":
                values[name] = int(value)
            else:
                raise ValueError
        except ValueError:
            raise ValueError(f"lanes: {option!r} is no option; there are frames, start, seed, world, scene (numbers) "
                             "and size (as 120x160)") from None
    count, start = values["frames"], values["start"]
    if count < 1 or start < 0:
        raise ValueError(f"lanes: {count} frames from {start} on; there must be at least one, from 0 or later")
    scene = values.get("scene", min(SCENE, max(20, count // 20)))
    stream = Lanes(values["seed"], size, world=values["world"], scene=scene)
    scenes = stream.scenes(start, count)
    partition = np.where(scenes % 2 == 0, *KINDS)
    level = np.array([stream.level(i) for i in range(start, start + count)])
    each = np.unique(scenes)
    deal = splits.by_blocks(each % 2, [f"lanes/{number}" for number in each], values["seed"])
    return dataset.Dataset(
        names=tuple(f"scene{number:05d}/{i:07d}" for number, i in zip(scenes.tolist(), range(start, start + count))),
        partition=partition, sequence=scenes, split=deal[np.searchsorted(each, scenes)], ood=np.zeros(count, bool),
        partition_kind="factor", fps=FPS, read=lambda i: stream.frame(start + i),
        description=f"lanes(seed={values['seed']}, world={values['world']}, frames={count}, start={start}, "
                    f"scene={scene}, size={size[0]}x{size[1]})", seconds=np.arange(start, start + count) / FPS,
        factors={kind: np.where(partition == kind, level, 0.0) for kind in KINDS})
