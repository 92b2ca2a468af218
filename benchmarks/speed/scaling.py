"""Cost against numbers of candidates, classes and queries, and memory at ImageNet's size."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import NullFormatter
from PIL import Image

from craft_zoo import mini
from craft_zoo.benchmarks.plots import COLOURS, MARKERS, save
from craft_zoo.benchmarks.speed.machine import Rows, fastest, peak_memory
from craft_zoo.benchmarks.speed.scoring import IMAGE_SIZE, random_names, random_text_tower
from craft_zoo.blackbox import Meter
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.craft import CraftConfig
from craft_zoo.data import few_shot, load_dataset
from craft_zoo.methods import Problem, get_method
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.text import CausalTextEncoder
from craft_zoo.tuning import tune

_CANDIDATES = (5, 10, 20, 40, 80, 160)
_CLASSES = (10, 30, 100, 300, 1000)
_BUDGETS = (1000, 2000, 4000, 8000)
_IMAGES = 16_000


def measure_scaling() -> Rows:
    """Measure seconds for several numbers of classes, candidates and queries, with craft-mini."""
    for n_classes in _CLASSES:
        yield {"what": "classes", "size": n_classes, "seconds": _seconds(n_classes, 40)}
    for popsize in _CANDIDATES:
        yield {"what": "candidates", "size": popsize, "seconds": _seconds(100, popsize)}
    task = few_shot(load_dataset("digits"), shots=16, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        vlm = OpenCLIP.load(cache=folder)
        tune(vlm, task, budget=40)  # encodes the images, and triggers lazy imports
        for budget in _BUDGETS:
            began = time.perf_counter()
            tune(vlm, task, budget=budget)
            seconds = time.perf_counter() - began
            yield {"what": "queries", "size": budget, "seconds": seconds}


def _seconds(n_classes: int, popsize: int) -> float:
    """Seconds of a generation of the engine."""
    names = random_names(n_classes)
    model, tokenizer = random_text_tower(mini.NAME)
    engine = CausalTextEncoder(model, tokenizer, names, DEFAULT_INIT, memory=2**30)
    work = partial(_all, engine, engine.initial_context.repeat(popsize, 1, 1))
    work()
    return fastest(work)


def measure_jobs(classes: Sequence[int] = (10, 100), jobs: int = 4) -> Rows:
    """Measure what scoring the generations of several runs in one call gains, with craft-mini.

    Each class has its own context. Seconds are of processor time, a query.
    """
    model, tokenizer = random_text_tower(mini.NAME)
    for n_classes in classes:
        names = random_names(n_classes)
        engine = CausalTextEncoder(model, tokenizer, names, DEFAULT_INIT, memory=2**30)
        for popsize in (1, 5, 20):
            seconds = {}
            for together in (1, jobs):
                size = popsize * together
                contexts = engine.initial_context.repeat(size, n_classes, 1, 1)
                work = partial(_all, engine, contexts)
                work()
                seconds[together] = fastest(work, repeats=5, clock=time.process_time) / size
            yield {
                "classes": n_classes,
                "candidates": popsize,
                "alone": seconds[1],
                "together": seconds[jobs],
                "gain": seconds[1] / seconds[jobs],
            }


def _all(engine: CausalTextEncoder, contexts: torch.Tensor) -> None:
    for _ in engine(contexts):
        pass


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope in a log-log plot; 1 means cost proportional to size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def plot_scaling(measured: pd.DataFrame, folder: Path) -> None:
    """Draw ``scaling.png`` and ``scaling.svg``: measured cost, with proportional cost dotted."""
    kinds = list(measured.groupby("what", sort=False))
    figure, panels = plt.subplots(1, len(kinds), figsize=(3.2 * len(kinds), 3.0))
    for (what, points), panel, colour, marker in zip(kinds, panels, COLOURS, MARKERS, strict=False):
        sizes, seconds = points["size"].to_numpy(float), points["seconds"].to_numpy()
        slope = exponent(sizes, seconds)
        panel.loglog(sizes, seconds[-1] * sizes / sizes[-1], color="0.6", ls=":", lw=1.2)
        panel.loglog(sizes, seconds, color=colour, marker=marker, ms=5)
        panel.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        panel.set_xticks([], minor=True)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(str(what))
        panel.set_title(f"cost ~ {what}$^{{{slope:.2f}}}$", fontsize=10)
        panel.grid(alpha=0.3, lw=0.5)
    panels[0].set_ylabel("seconds (dotted: proportional)")
    figure.tight_layout()
    save(figure, folder, "scaling")


def measure_memory(architecture: str) -> dict[str, Any]:
    """Measure time and memory (MB) of one generation of CraFT with refiner at ImageNet's size."""
    popsize, n_classes, memory = 40, 1000, 1024
    model, tokenizer = random_text_tower(architecture)
    rng = np.random.default_rng(0)
    few = [rng.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(16)]
    with tempfile.TemporaryDirectory() as folder:  # a cache, so that each image is encoded once
        vlm = OpenCLIP(
            model, _pixels, tokenizer, name=architecture, memory=memory, cache=Path(folder)
        )
        images = vlm.images(few * (_IMAGES // len(few)))
    labels = rng.integers(n_classes, size=_IMAGES)
    problem = Problem(
        vlm=vlm,
        box=vlm.classifier(random_names(n_classes)),
        images=images,
        labels=labels,
        meter=Meter(popsize),
        budget=popsize,
        seed=1,
        optimizer=f"cma:popsize={popsize}",
        config=CraftConfig(refiner="network", hidden=512),
    )
    began = time.perf_counter()
    with peak_memory() as peak:
        for _ in get_method("craft")(problem):
            pass
    return {
        "architecture": architecture,
        "candidates": popsize,
        "classes": n_classes,
        "images": _IMAGES,
        "option": memory,
        "megabytes": peak.megabytes,
        "limit": 4096,  # target, in megabytes
        "seconds": time.perf_counter() - began,
    }


def _pixels(image: Image.Image) -> torch.Tensor:
    """Minimal preprocessing, as the image features don't matter here."""
    resized = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE)), dtype=np.float32)
    return torch.from_numpy(resized / 255).permute(2, 0, 1)
