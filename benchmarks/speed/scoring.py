"""Speed of scoring a generation: as released, without padding, and by craft-zoo's engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import fastest, gemm_rate, peak_memory
from craft_zoo.benchmarks.speed.naive import NaiveScorer
from craft_zoo.benchmarks.speed.operations import needed_operations
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.errors import CraftZooError
from craft_zoo.logs import quiet
from craft_zoo.openclip.text import CausalTextEncoder, Model, Tokenizer

ARCHITECTURES = ("craft-mini", "RN50", "ViT-B-32", "ViT-L-14")
CLASSES = (10, 100, 1000)
POPSIZE = 40
IMAGE_SIZE = 32  # of the tiny image tower, in pixels
_MEMORY = 2**30
_WORDS = (
    *("river", "sea", "forest", "highway", "annual", "crop", "land", "tabby", "cat", "tiger"),
    *("shark", "golden", "retriever", "maltese", "terrier", "zebra", "crossing", "tram"),
    *("forklift", "industrial", "buildings", "acoustic", "guitar", "maple", "leaf"),
)
_MOST_NAMES = 10_000  # the words allow some 14,000 combinations
_KINDS = {
    "aten::addmm": "matrix products",
    "aten::mm": "matrix products",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::gelu": "activation",
    "aten::silu_": "activation",
    "aten::native_layer_norm": "normalisation",
}


def random_text_tower(name: str) -> tuple[Model, Tokenizer]:
    """open_clip's or craft-mini's architecture with random weights and a tiny image tower.

    The cost of the text tower does not depend on its weights.
    """
    mini.register()
    config = open_clip.get_model_config(name)
    vision = {"image_size": IMAGE_SIZE, "layers": 1, "width": 64, "patch_size": IMAGE_SIZE}
    torch.manual_seed(0)
    with quiet():
        model = open_clip.CLIP(
            config["embed_dim"],
            vision_cfg=vision,
            text_cfg=config["text_cfg"],
            quick_gelu=config.get("quick_gelu", False),
        )
    return model.eval().requires_grad_(False), open_clip.get_tokenizer(name)


def random_names(n_classes: int) -> list[str]:
    """Distinct class names of one to three words, with the mean length of ImageNet's."""
    if n_classes > _MOST_NAMES:
        raise CraftZooError(f"at most {_MOST_NAMES:,} class names can be made, not {n_classes:,}")
    rng = np.random.default_rng(0)
    names: dict[str, None] = {}
    while len(names) < n_classes:
        names[" ".join(rng.choice(_WORDS, rng.integers(1, 4), replace=False))] = None
    return list(names)


def measure_scoring(
    architectures: Sequence[str] = ARCHITECTURES,
    classes: Sequence[int] = CLASSES,
    *,
    popsize: int = POPSIZE,
    compile: bool = False,
    console: Console | None = None,
) -> pd.DataFrame:
    """Measure seconds per generation and more, one row per architecture and number of classes.

    The naive scorers process candidates one by one, so the time of one is multiplied by
    ``popsize``. With ``compile``, the engine is compiled, and ``first_seconds`` includes that.
    """
    rate = gemm_rate()
    rows = []
    for name in architectures:
        model, tokenizer = random_text_tower(name)
        for n_classes in classes:
            if console:
                console.print(f"{name}, {n_classes} classes …", style="dim")
            rows.append(
                {"architecture": name, "gemm": rate / 1e9}
                | _measure(model, tokenizer, random_names(n_classes), popsize, rate, compile)
            )
    return pd.DataFrame(rows)


def _measure(
    model: Model,
    tokenizer: Tokenizer,
    names: Sequence[str],
    popsize: int,
    rate: float,
    compile: bool,
) -> dict[str, Any]:
    naive = NaiveScorer(model, tokenizer, names)
    cut = NaiveScorer(model, tokenizer, names, cut=True)
    engine = CausalTextEncoder(
        model, tokenizer, names, DEFAULT_INIT, memory=_MEMORY, compile=compile
    )
    start = naive.initial_context
    noise = torch.randn(popsize, *start.shape, generator=torch.Generator().manual_seed(0))
    contexts = start + start.std() * noise

    def run_engine() -> list[torch.Tensor]:
        return list(engine(contexts))

    began = time.perf_counter()
    with peak_memory() as engine_peak:
        features = run_engine()
    first = time.perf_counter() - began
    with peak_memory() as naive_peak:
        expected = naive(contexts[0])
    error = float((features[0] - expected).abs().max())
    assert error < 1e-4, f"the engine is wrong by {error}"
    # Alternate, so that a temporary slowdown of the machine affects all scorers.
    seconds = {"naive": float("inf"), "cut": float("inf"), "engine": float("inf")}
    repeats = 3 if len(names) < 1000 else 1
    for _ in range(repeats):
        for way, work in (
            ("naive", partial(naive, contexts[0])),
            ("cut", partial(cut, contexts[0])),
        ):
            seconds[way] = min(seconds[way], popsize * fastest(work, repeats=repeats))
        seconds["engine"] = min(seconds["engine"], fastest(run_engine, repeats=1))
    operations = popsize * needed_operations(naive)
    return {
        "classes": len(names),
        "popsize": popsize,
        "naive_seconds": seconds["naive"],
        "cut_seconds": seconds["cut"],
        "engine_seconds": seconds["engine"],
        "first_seconds": first,
        "cut_ratio": seconds["naive"] / seconds["cut"],
        "engine_ratio": seconds["naive"] / seconds["engine"],
        "gigaflops": operations / 1e9,
        "rate": operations / seconds["engine"] / 1e9,
        "share_of_gemm": operations / seconds["engine"] / rate,
        "naive_megabytes": naive_peak.megabytes,
        "engine_megabytes": engine_peak.megabytes,
        "error": error,
        **{f"time_{kind.replace(' ', '_')}": share for kind, share in _shares(run_engine).items()},
    }


def _shares(work: Any) -> dict[str, float]:
    """Shares of CPU time by kind of operation."""
    with quiet(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    times = dict.fromkeys((*_KINDS.values(), "copies and the rest"), 0.0)
    for event in profiler.key_averages():
        times[_KINDS.get(event.key, "copies and the rest")] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: seconds / total for kind, seconds in times.items()}


def scoring_table(measured: pd.DataFrame) -> Table:
    """Table of the measurements."""
    rate = measured["gemm"].iloc[0]
    table = Table(
        title=f"A generation of {measured['popsize'].iloc[0]} candidates; float32 matrix products "
        f"reach {rate:.0f} GFLOP/s here",
        box=None,
    )
    for column in (
        *("architecture", "classes", "naive s", "cut s", "engine s", "cut x", "engine x"),
        *("GFLOP/s", "of GEMM", "naive MB", "engine MB", "error"),
    ):
        table.add_column(column, justify="left" if column == "architecture" else "right")
    for row in measured.itertuples():
        table.add_row(
            row.architecture,
            str(row.classes),
            *(f"{s:.3g}" for s in (row.naive_seconds, row.cut_seconds, row.engine_seconds)),
            *(f"{x:.1f}" for x in (row.cut_ratio, row.engine_ratio)),
            f"{row.rate:.0f}",
            f"{row.share_of_gemm:.0%}",
            *(f"{mb:.0f}" for mb in (row.naive_megabytes, row.engine_megabytes)),
            f"{row.error:.0e}",
        )
    return table
