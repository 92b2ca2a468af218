"""Speed of scoring a generation: as released, without padding, and by craft-zoo's engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
from torch.profiler import ProfilerActivity, profile

from craft_zoo import mini
from craft_zoo.benchmarks.speed.machine import Rows, fastest, gemm_rate, peak_memory
from craft_zoo.benchmarks.speed.naive import NaiveScorer
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.errors import CraftZooError
from craft_zoo.logs import quiet
from craft_zoo.openclip.text import CausalTextEncoder, Model, Tokenizer

ARCHITECTURES = ("craft-mini", "RN50", "ViT-B-32", "ViT-L-14")
CLASSES = (10, 100, 1000)
_POPSIZE = 40
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
    compile: bool = False,
) -> Rows:
    """Measure seconds per generation and more, one row per architecture and number of classes.

    The naive scorers process candidates one by one, so the time of one is multiplied by their
    number. With ``compile``, the engine is compiled, and ``first_seconds`` includes that.
    """
    rate = gemm_rate()
    for name in architectures:
        model, tokenizer = random_text_tower(name)
        for n_classes in classes:
            measured = _measure(model, tokenizer, random_names(n_classes), rate, compile)
            yield {"architecture": name, "gemm": rate / 1e9} | measured


def _measure(
    model: Model, tokenizer: Tokenizer, names: Sequence[str], rate: float, compile: bool
) -> dict[str, Any]:
    naive = NaiveScorer(model, tokenizer, names)
    cut = NaiveScorer(model, tokenizer, names, cut=True)
    engine = CausalTextEncoder(
        model, tokenizer, names, DEFAULT_INIT, memory=_MEMORY, compile=compile
    )
    start = naive.initial_context
    noise = torch.randn(_POPSIZE, *start.shape, generator=torch.Generator().manual_seed(0))
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
            seconds[way] = min(seconds[way], _POPSIZE * fastest(work, repeats=repeats))
        seconds["engine"] = min(seconds["engine"], fastest(run_engine, repeats=1))
    operations = _POPSIZE * needed_operations(naive)
    return {
        "classes": len(names),
        "popsize": _POPSIZE,
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


def needed_operations(scorer: NaiveScorer) -> int:
    """Operations per candidate; a multiply-add counts as two.

    Counts the matrix products that depend on the candidate and affect the output: the context
    tokens once per layer (shared by all classes), each class name's tokens up to end-of-text, each
    pair of positions that attend to each other, and in the last layer only the queries of the
    end-of-text tokens. Excludes work shared by all candidates (the start token and the first
    layer's projections of the names' tokens), normalisation, activation, softmax and additions.
    """
    model = scorer.model
    blocks = model.transformer.resblocks
    layers, hidden = len(blocks), blocks[0].mlp.c_fc.out_features
    embed_dim, width = model.text_projection.shape[1], model.text_projection.shape[0]
    n_context = len(scorer.initial_context)
    stop = 1 + n_context
    lengths = [int(end) + 1 - stop for end in scorer.ends]
    tokens, classes = sum(lengths), len(lengths)

    keys_values, mlp = 2 * 2 * width**2, 2 * 2 * width * hidden
    query_out = 2 * 2 * width**2
    whole = keys_values + query_out + mlp
    pair = 4 * width  # per query-key pair: attention score and weighted value
    context_pairs = sum(range(2, stop + 1))
    name_pairs = sum(stop + place for n in lengths for place in range(1, n + 1))
    last_pairs = sum(stop + n for n in lengths)

    context = n_context * ((layers - 1) * whole + keys_values) + (layers - 1) * pair * context_pairs
    first = tokens * (2 * width**2 + mlp)
    middle = tokens * (layers - 2) * whole
    attention = pair * ((layers - 1) * name_pairs + last_pairs)
    last = tokens * keys_values + classes * (query_out + mlp + 2 * width * embed_dim)
    return context + first + middle + attention + last
