"""Image encoding speed: the bare model, common loops and craft-zoo's pipeline."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from craft_zoo import mini
from craft_zoo.logs import quiet
from craft_zoo.machine import use_threads
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.text import Model, Tokenizer
from craft_zoo.threads import in_threads

ARCHITECTURES = (mini.NAME, "ViT-B-32", "RN50")
DEFAULT = (mini.NAME, "ViT-B-32")  # takes three minutes; RN50 takes two more
KINDS = {"64x64": (64, 64), "500x375": (500, 375)}  # sizes of EuroSAT and of photographs
BATCH = 4  # the pipeline's batch size on a CPU
_NAIVE_BATCH = 32
_COUNTS = {mini.NAME: 64}  # images, so that each way takes a second or more
_COUNT = 32
_CELLS = {3: 0.4, 12: 0.3, 48: 0.2, 192: 0.1}  # noise cells across an image → weight

# Either one batch per thread, as in the pipeline, or all PyTorch threads on each batch.
BARE, BARE_TOGETHER = "bare model", "bare, threads together"
DECODING, ONE_BY_ONE, NAIVE_BATCHES = "decoding", "one by one", f"batches of {_NAIVE_BATCH}"
PIPELINE, WARM = "pipeline", "warm cache"

_Way = Callable[[], np.ndarray | None]  # returns features (N, embed_dim), or None if only decoding


def write_photographs(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write JPEG files of smooth random images, about as large as photographs in bytes.

    Args:
        folder: where to write; created if missing.
        size: width and height in pixels.
        count: number of images.
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
    architectures: Sequence[str] = DEFAULT,
    *,
    count: int | None = None,
    repeats: int = 3,
    threads: Sequence[int] = (1, 2),
    console: Console | None = None,
) -> pd.DataFrame:
    """Measure seconds from JPEG files to features by each implementation ("way").

    Args:
        architectures: craft-mini, or open_clip's with random weights, which don't change the cost.
        count: images of each kind; by default enough for a second or more.
        repeats: repetitions of all ways, alternating.
        threads: numbers of threads to measure with.
        console: shows the progress.

    Returns:
        Columns model, images (their size), bytes (mean file size), threads, repeat, way, count,
        seconds, per_second, ratio (to the bare model's per_second in the same repeat) and error
        (largest absolute difference from the bare model's features; NaN for decoding).
    """
    before = torch.get_num_threads()
    rows: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in architectures:
                comparison = _Comparison(name, Path(folder) / "cache")
                for kind, size in KINDS.items():
                    number = count or _COUNTS.get(name, _COUNT)
                    paths = write_photographs(Path(folder) / kind, size, number)
                    size_on_disk = sum(path.stat().st_size for path in paths) / number
                    about = {"model": name, "images": kind, "bytes": size_on_disk}
                    for n_threads in threads:
                        if console:
                            console.print(f"{name}, {kind}, threads: {n_threads} …", style="dim")
                        use_threads(n_threads)
                        ways = comparison.ways(paths)
                        for repeat in range(repeats):
                            turn = about | {"threads": n_threads, "repeat": repeat}
                            rows += [turn | row for row in _take_turns(ways, number)]
    finally:
        use_threads(before)
    return pd.DataFrame(rows)


class _Comparison:
    """Implementations of image encoding with one model."""

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
        ways: dict[str, _Way] = {
            BARE: lambda: np.concatenate(list(in_threads(encode, batches))),
            BARE_TOGETHER: lambda: np.concatenate([encode(batch) for batch in batches]),
            DECODING: partial(self._decode, paths),
            ONE_BY_ONE: partial(self._naive, paths, 1),
            NAIVE_BATCHES: partial(self._naive, paths, _NAIVE_BATCH),
            PIPELINE: lambda: self.vlm.features(self.vlm.images(paths, keep=False)),
            WARM: lambda: self.vlm.features(self.vlm.images(paths)),
        }
        if torch.get_num_threads() == 1:  # then equal to BARE
            del ways[BARE_TOGETHER]
        return ways

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


def _take_turns(ways: dict[str, _Way], count: int) -> list[dict[str, Any]]:
    """Run each way once; the first one is the reference of ``ratio`` and ``error``."""
    rows: list[dict[str, Any]] = []
    expected: np.ndarray | None = None
    for way, work in ways.items():
        began = time.perf_counter()
        features = work()
        seconds = time.perf_counter() - began
        error = float("nan")
        if features is not None:
            expected = features if expected is None else expected
            error = float(np.abs(features - expected).max())
        rows.append(
            {
                "way": way,
                "count": count,
                "seconds": seconds,
                "per_second": count / seconds,
                "ratio": rows[0]["seconds"] / seconds if rows else 1.0,
                "error": error,
            }
        )
    return rows


def images_table(measured: pd.DataFrame) -> Table:
    """Table of the medians over the repeats."""
    table = Table(title="Images a second (times the bare model's), medians", box=None)
    ways = (BARE, BARE_TOGETHER, ONE_BY_ONE, NAIVE_BATCHES, PIPELINE, WARM)
    left = ("model", "images")
    for column in (*left, "threads", f"{DECODING} a core", *ways):
        table.add_column(column, justify="left" if column in left else "right")
    for (model, kind, threads), points in measured.groupby(
        ["model", "images", "threads"], sort=False
    ):
        medians = points.groupby("way")[["per_second", "ratio"]].median()
        cells = [_cell(medians, way) for way in ways]
        decoding = medians.per_second[DECODING] / threads
        table.add_row(model, kind, str(threads), f"{decoding:,.0f}", *cells)
    return table


def _cell(medians: pd.DataFrame, way: str) -> str:
    if way not in medians.index:
        return ""
    rate, ratio = medians.loc[way]
    return f"{rate:,.3g} ({ratio:.2f})" if rate < 1000 else f"{rate:,.0f}"
