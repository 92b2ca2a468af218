"""Speed benchmarks: correctness of what they measure, not the speed itself."""

from __future__ import annotations

import functools
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
from craft_zoo.benchmarks.speed.__main__ import main
from craft_zoo.benchmarks.speed.images import BATCH, KINDS, measure_images, write_photographs
from craft_zoo.benchmarks.speed.large import measure_growth
from craft_zoo.benchmarks.speed.machine import gemm_rate, peak_memory
from craft_zoo.benchmarks.speed.naive import NaiveScorer
from craft_zoo.benchmarks.speed.released import released_loop
from craft_zoo.benchmarks.speed.scaling import exponent, measure_jobs
from craft_zoo.benchmarks.speed.scoring import needed_operations, random_names, random_text_tower
from craft_zoo.benchmarks.speed.whole_run import WAYS, measure_runs
from craft_zoo.data import open_image
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.images import ImageEncoder
from craft_zoo.openclip.text import CausalTextEncoder

INIT = "a photo of a"


text_tower = functools.cache(random_text_tower)


@settings(max_examples=10, deadline=None)
@given(n_words=st.lists(st.integers(1, 7), min_size=1, max_size=12), n_contexts=st.integers(1, 4))
def test_the_engine_computes_what_is_needed_and_no_padding(
    n_words: list[int], n_contexts: int
) -> None:
    """PyTorch's own count of the matrix products, for names of any mixture of lengths."""
    model, tokenizer = text_tower(mini.NAME)
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


def test_the_released_loop_learns(tiny_vlm: OpenCLIP, image_folder: Path) -> None:
    model, tokenizer = tiny_vlm._model, tiny_vlm._tokenizer
    data = load_dataset(f"folder:{image_folder}")
    task = few_shot(data, shots=4, seed=1)
    loop = released_loop(
        model, tiny_vlm._preprocess, tokenizer, task.classnames, task.train, budget=120, seed=1
    )
    steps = list(loop)
    assert [queries for queries, _, _ in steps] == [40, 80, 120]
    scorer = NaiveScorer(model, tokenizer, task.classnames)
    initial = scorer(scorer.initial_context)
    assert all(not torch.allclose(text, initial, atol=1e-3) for _, text, _ in steps)


def test_scoring_is_written_with_its_ratios(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once = functools.partial(gemm_rate, repeats=1)
    monkeypatch.setattr("craft_zoo.benchmarks.speed.scoring.gemm_rate", once)
    arguments = ["scoring", "--model", "craft-mini", "--classes", "3"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    row = pd.read_csv(tmp_path / "scoring.csv").iloc[0]
    assert row.engine_ratio == pytest.approx(row.naive_seconds / row.engine_seconds, rel=1e-4)
    assert row.error < 1e-5
    shares = row[[name for name in row.index if name.startswith("time_")]]
    assert shares.sum() == pytest.approx(1, rel=1e-4)  # rounded in the file
    assert "engine_ratio" in capsys.readouterr().out


def test_every_way_of_a_whole_run_is_measured(
    image_folder: Path, tiny_vlm: OpenCLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tiny_vlm._model, tiny_vlm._preprocess, tiny_vlm._tokenizer
    monkeypatch.setattr(mini, "create", lambda: parts)
    measured = pd.DataFrame(measure_runs(f"folder:{image_folder}", shots=4, budget=40, seeds=1))
    assert tuple(measured["way"]) == WAYS
    assert measured["accuracy"].between(0, 1).all()
    assert (measured["seconds"] > 0).all()
    ours = measured[1:]
    assert ours["beyond"].between(0, ours["processor"], inclusive="neither").all()


def test_all_ways_from_images_to_features_give_the_same_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("craft_zoo.benchmarks.speed.images.KINDS", {"64x64": KINDS["64x64"]})
    before = torch.get_num_threads()
    measured = pd.DataFrame(measure_images([mini.NAME], count=2, repeats=1, threads=(1, 2)))
    assert torch.get_num_threads() == before
    kinds = measured.groupby(["images", "threads"])
    assert set(kinds.groups) == {("64x64", 1), ("64x64", 2)}
    alone = ["bare model", "decoding", "one by one", "batches of 32", "pipeline", "warm cache"]
    for (_, threads), turn in kinds:
        extra = ["bare, threads together"] if threads > 1 else []
        assert list(turn["way"]) == [*alone[:1], *extra, *alone[1:]]
        bare = turn["per_second"].iloc[0]
        assert turn["ratio"].to_numpy() == pytest.approx(turn["per_second"].to_numpy() / bare)
    assert (measured["per_second"] > 0).all()
    assert measured["per_second"].to_numpy() == pytest.approx(2 / measured["seconds"].to_numpy())
    encoded = measured[measured["way"] != "decoding"]
    assert encoded["error"].max() < 1e-5
    assert measured.loc[measured["way"] == "decoding", "error"].isna().all()


def test_the_bare_model_takes_the_pipelines_own_batches() -> None:
    model, preprocess, _ = mini.create()
    seen: list[int] = []
    hook = model.visual.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    ImageEncoder(model, preprocess)([np.zeros((8, 8, 3), np.uint8)] * (BATCH + 1))
    hook.remove()
    assert seen == [BATCH, BATCH]  # the last one is padded


def test_photographs_are_distinct_and_as_large_as_real_ones(tmp_path: Path) -> None:
    for kind, size in KINDS.items():
        paths = write_photographs(tmp_path / kind, size, 3)
        images = [np.asarray(open_image(path)) for path in paths]
        assert all(image.shape == (size[1], size[0], 3) for image in images)
        assert len({image.tobytes() for image in images}) == 3
        # Noise of single pixels would take more than one byte each.
        assert all(0.05 < path.stat().st_size / (size[0] * size[1]) < 0.8 for path in paths)


def test_images_are_written_and_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = functools.partial(measure_images, [mini.NAME], count=2, repeats=1)
    monkeypatch.setattr("craft_zoo.benchmarks.speed.__main__.measure_images", few)
    assert main(["images", "--threads", "1", "--out", str(tmp_path)]) == 0
    measured = pd.read_csv(tmp_path / "images.csv")
    assert set(measured["threads"]) == {1}
    assert set(measured["count"]) == {2}
    assert "500x375" in capsys.readouterr().out


def test_a_run_with_many_classes_is_measured(tmp_path: Path) -> None:
    few = ["--classes", "12", "--shots", "2", "--queries", "21", "--threads", "1"]
    assert main(["large", *few, "--out", str(tmp_path)]) == 0
    [measured] = pd.read_csv(tmp_path / "large.csv").itertuples()
    assert (measured.classes, measured.images, measured.queries) == (12, 24, 21)
    assert 0 < measured.processor_seconds_a_query < 10 * measured.seconds_a_query
    assert measured.journal_megabytes > 21 * 24 * 12 * 4 / 2**20  # a query's logits are float32
    assert 0 < measured.zero_shot <= measured.accuracy


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


def test_growth_is_measured_by_what_grows() -> None:
    sizes = {"classes": [(2, 2, 5), (4, 2, 5)], "queries": [(2, 2, 5), (2, 2, 9)]}
    measured = pd.DataFrame(measure_growth(sizes))
    assert list(measured["what"]) == ["classes", "classes", "queries", "queries"]
    assert list(measured["size"]) == [2, 4, 5, 9]
    assert (measured["processor_seconds"] > 0).all()


def test_generations_of_several_runs_are_scored_in_one_call() -> None:
    measured = pd.DataFrame(measure_jobs(classes=[2], jobs=2))
    assert list(measured["candidates"]) == [1, 5, 20]
    expected = (measured["alone"] / measured["together"]).to_numpy()
    assert measured["gain"].to_numpy() == pytest.approx(expected)
