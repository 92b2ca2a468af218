"""Image encoding speed: the bare model, common loops and craft-zoo's pipeline."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import Rows
from craft_zoo.logs import quiet
from craft_zoo.machine import use_threads
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.text import Model, Tokenizer
from craft_zoo.threads import in_threads

KINDS = {"64x64": (64, 64), "500x375": (500, 375)}  # sizes of EuroSAT and of photographs
BATCH = 4  # the pipeline's batch size on a CPU
_NAIVE_BATCH = 32
_COUNTS = {mini.NAME: 64, "ViT-B-32": 32}  # images, so that each way takes a second or more
_CELLS = {3: 0.4, 12: 0.3, 48: 0.2, 192: 0.1}  # noise cells across an image → weight

_Way = Callable[[], np.ndarray | None]  # returns features (N, embed_dim), or None if only decoding


def write_photographs(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write JPEG files of smooth random images, about as large as photographs in bytes.

    ``size`` is width and height in pixels. ``folder`` is created if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:04}.jpg" for i in range(count)]
    for path in paths:
        pixels = np.zeros((size[1], size[0], 3))
        for cells, weight in _CELLS.items():
            noise = rng.integers(0, 256, (max(1, cells * size[1] // size[0]), cells, 3), np.uint8)
            pixels += weight * np.asarray(
                Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
            )
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
    return paths


def measure_images(
    architectures: Sequence[str] = (mini.NAME, "ViT-B-32"),
    *,
    count: int | None = None,
    repeats: int = 3,
    threads: Sequence[int] = (1, 2),
) -> Rows:
    """Measure seconds from JPEG files to features by each implementation ("way").

    Each row has images (their size), bytes (mean file size), ratio (to the bare model's per_second
    in the same repeat) and error (largest absolute difference from the bare model's features; NaN
    for decoding), among others.

    Args:
        architectures: craft-mini, or open_clip's with random weights, which don't change the cost.
        count: images of each kind; by default enough for a second or more.
        repeats: repetitions of all ways, alternating.
        threads: numbers of threads to measure with.
    """
    before = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in architectures:
                model = _Model(name, Path(folder) / "cache")
                for kind, size in KINDS.items():
                    number = count or _COUNTS[name]
                    paths = write_photographs(Path(folder) / kind, size, number)
                    size_on_disk = sum(path.stat().st_size for path in paths) / number
                    about = {"model": name, "images": kind, "bytes": size_on_disk}
                    for n_threads in threads:
                        use_threads(n_threads)
                        ways = model.ways(paths)
                        for repeat in range(repeats):
                            turn = about | {"threads": n_threads, "repeat": repeat}
                            yield from (turn | row for row in _take_turns(ways, number))
    finally:
        use_threads(before)


class _Model:
    """A model and several implementations of image encoding with it."""

    def __init__(self, name: str, cache: Path) -> None:
        self.model, self.preprocess, tokenizer = _create(name)
        # Keep a copy in the usual memory layout, as the pipeline changes the model's layout.
        self.plain = copy.deepcopy(self.model)
        self.vlm = OpenCLIP(self.model, self.preprocess, tokenizer, name=name, cache=cache)

    def ways(self, paths: Sequence[Path]) -> dict[str, _Way]:
        """All implementations by name, the bare model first, as it is the reference."""
        pixels = torch.stack([self._prepare(path) for path in paths])
        batches = pixels.to(memory_format=torch.channels_last).split(BATCH)
        encode = partial(_encode, self.model)
        self.vlm.images(paths)  # fills the cache
        # Either one batch per thread, as in the pipeline, or all PyTorch threads on each batch.
        ways: dict[str, _Way] = {
            "bare model": lambda: np.concatenate(list(in_threads(encode, batches)))
        }
        if torch.get_num_threads() > 1:
            ways["bare, threads together"] = lambda: np.concatenate([*map(encode, batches)])
        return ways | {
            "decoding": partial(self._decode, paths),
            "one by one": partial(self._naive, paths, 1),
            f"batches of {_NAIVE_BATCH}": partial(self._naive, paths, _NAIVE_BATCH),
            "pipeline": lambda: self.vlm.features(self.vlm.images(paths, keep=False)),
            "warm cache": lambda: self.vlm.features(self.vlm.images(paths)),
        }

    def _prepare(self, path: Path) -> Tensor:
        with Image.open(path) as image:
            return self.preprocess(image)

    def _decode(self, paths: Sequence[Path]) -> None:
        for _ in in_threads(self._prepare, paths):
            pass

    def _naive(self, paths: Sequence[Path], size: int) -> np.ndarray:
        parts = [paths[start : start + size] for start in range(0, len(paths), size)]
        return np.concatenate(
            [_encode(self.plain, torch.stack([self._prepare(p) for p in part])) for part in parts]
        )


def _create(name: str) -> tuple[Model, Callable[..., Tensor], Tokenizer]:
    if name == mini.NAME:
        return mini.create()
    torch.manual_seed(0)
    with quiet():
        model, _, preprocess = open_clip.create_model_and_transforms(name)
    return model.eval(), preprocess, open_clip.get_tokenizer(name)


@torch.inference_mode()
def _encode(model: Model, pixels: Tensor) -> np.ndarray:
    return model.encode_image(pixels, normalize=True).numpy()


def _take_turns(ways: dict[str, _Way], count: int) -> Rows:
    """Run each way once; the first one is the reference of ``ratio`` and ``error``."""
    bare: float | None = None
    expected: np.ndarray | None = None
    for way, work in ways.items():
        began = time.perf_counter()
        features = work()
        seconds = time.perf_counter() - began
        bare = bare or seconds
        error = float("nan")
        if features is not None:
            expected = features if expected is None else expected
            error = float(np.abs(features - expected).max())
        yield {
            "way": way,
            "count": count,
            "seconds": seconds,
            "per_second": count / seconds,
            "ratio": bare / seconds,
            "error": error,
        }
