"""The speed benchmarks measure what they say; how fast things are is not tested."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from craft_zoo import few_shot, load_dataset, mini
from craft_zoo.benchmarks.speed import NaiveScorer, exponent, measure_runs, released_loop
from craft_zoo.benchmarks.speed.__main__ import main
from craft_zoo.benchmarks.speed.machine import peak_memory
from craft_zoo.benchmarks.speed.operations import needed_operations
from craft_zoo.benchmarks.speed.scoring import random_names, random_text_tower
from craft_zoo.blackbox.text import CausalTextEncoder

INIT = "a photo of a"


@settings(max_examples=15, deadline=None)
@given(n_words=st.lists(st.integers(1, 7), min_size=1, max_size=25), n_contexts=st.integers(1, 4))
def test_the_engine_computes_what_is_needed_and_no_padding(
    n_words: list[int], n_contexts: int
) -> None:
    """PyTorch's own count of the matrix products, for names of any mixture of lengths."""
    model, tokenizer = random_text_tower(mini.NAME)
    names = [" ".join(["ox"] * n) for n in n_words]
    engine = CausalTextEncoder(model, tokenizer, names, INIT, memory=2**30)
    needed = n_contexts * needed_operations(NaiveScorer(model, tokenizer, names))
    contexts = engine.initial_context.repeat(n_contexts, 1, 1)
    with FlopCounterMode(display=False) as counter:
        list(engine(contexts))
    # The counter leaves out attention, and the engine computes a few queries too many in the last
    # layer; both are a few percent of what is needed.
    assert 0.9 * needed < counter.get_total_flops() < 1.05 * needed


def test_the_naive_way_gives_open_clips_features_cut_or_not() -> None:
    model, _, tokenizer = mini.create()
    names = random_names(12)
    with torch.inference_mode():
        texts = tokenizer([f"{INIT} {name}." for name in names])
        expected = model.encode_text(texts, normalize=True)
    for cut in (False, True):
        scorer = NaiveScorer(model, tokenizer, names, cut=cut)
        assert torch.allclose(scorer(scorer.initial_context), expected, atol=1e-6)
    assert len(set(names)) == 12


def test_the_released_loop_learns(image_folder: Path) -> None:
    model, preprocess, tokenizer = mini.create()
    model.requires_grad_(False)
    data = load_dataset(f"folder:{image_folder}")
    task = few_shot(data, shots=4, seed=1)
    steps = list(
        released_loop(model, preprocess, tokenizer, task.classnames, task.train, budget=120, seed=1)
    )
    assert [queries for queries, _, _ in steps] == [40, 80, 120]
    scorer = NaiveScorer(model, tokenizer, task.classnames)
    initial = scorer(scorer.initial_context)
    assert all(not torch.allclose(text, initial, atol=1e-3) for _, text, _ in steps)


def test_scoring_is_written_with_its_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["scoring", "--model", "craft-mini", "--classes", "3", "--popsize", "2"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    row = pd.read_csv(tmp_path / "scoring.csv").iloc[0]
    assert row.engine_ratio == pytest.approx(row.naive_seconds / row.engine_seconds, rel=1e-4)
    assert row.error < 1e-5
    shares = row[[name for name in row.index if name.startswith("time_")]]
    assert shares.sum() == pytest.approx(1, rel=1e-4)  # rounded in the file
    assert "engine x" in capsys.readouterr().out


def test_every_way_of_a_whole_run_is_measured(image_folder: Path) -> None:
    measured = measure_runs(f"folder:{image_folder}", shots=4, budget=40, seeds=1)
    assert list(measured["way"]) == [
        *("released loop", "ours, same settings", "ours, cma", "ours, spsa-gc")
    ]
    assert measured["accuracy"].between(0, 1).all()
    assert (measured["seconds"] > 0).all()


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--dataset", "folder:nowhere", "--out", str(tmp_path)]) == 2
    assert "folder nowhere does not exist" in capsys.readouterr().err


def test_exponents() -> None:
    sizes = [1.0, 10.0, 100.0]
    assert exponent(sizes, [3.0, 30.0, 300.0]) == pytest.approx(1)
    assert exponent(sizes, [2.0, 200.0, 20000.0]) == pytest.approx(2)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_peak_memory_sees_what_is_gone_again() -> None:
    with peak_memory() as peak:
        block = np.ones(25_000_000)
        del block
    assert 180 < peak.megabytes < 400
