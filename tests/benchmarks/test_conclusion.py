"""The sentences that say which method of a bench to take."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from craft_zoo.benchmarks import Point, RunSpec, conclusions, score_table, tidy
from craft_zoo.benchmarks.commands import command_with_seeds
from craft_zoo.cli.main import build_parser
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec


def run(method: str, seed: int = 1, *, dataset: str = "digits", **more: Any) -> RunSpec:
    optimizer = "logit-gn" if method.startswith("craft") else "none"
    return RunSpec("craft-mini", DatasetSpec(dataset), method, optimizer, 16, seed, 100, **more)


def end(accuracy: float, *, cost: float = 1.0) -> list[Point]:
    return [
        Point(
            queries=100,
            accuracy=accuracy,
            train_accuracy=1.0,
            loss=0.1,
            search_predictions=1,
            refiner_predictions=0,
            evaluation_predictions=0,
            seconds=1.0,
            image_predictions=cost,
        )
    ]


def lead(seeds: int, by: float = 0.1) -> dict[RunSpec, list[Point]]:
    """Runs of craft, which is ahead of refine by a little more with each seed."""
    made = {run("refine", seed): end(0.5) for seed in range(1, seeds + 1)}
    return made | {run("craft", s): end(0.5 + by + 0.002 * s) for s in range(1, seeds + 1)}


def test_one_method_is_said_without_a_comparison() -> None:
    assert conclusions({run("craft"): end(0.8)}) == [
        "craft (logit-gn) reaches 80.0 % on digits, 16 shots."
    ]
    assert conclusions({run("linear-probe"): end(0.8)}) == []  # it looks into the model


def test_few_seeds_show_nothing_and_the_command_gets_enough() -> None:
    [sentence] = conclusions(lead(2))
    said, command = sentence.split(": run craft-zoo ")
    assert said == (
        "The most accurate is craft (logit-gn): 60.3 % on digits, 16 shots, 10.3 points above "
        "refine, but 2 pairs of runs are too few to test whether it is chance"
    )
    options = build_parser().parse_args(shlex.split(command.removesuffix(".")))
    assert options.method == ["refine", "craft"]
    assert (options.optimizer, options.dataset, options.shots) == (["logit-gn"], ["digits"], [16])
    assert (options.budget, options.seed) == (100, None)
    assert "too few to test" in conclusions(lead(options.seeds - 1))[0]
    assert conclusions(lead(options.seeds)) == [
        "The most accurate is craft (logit-gn): 60.7 % on digits, 16 shots, 10.7 points above "
        "refine (p = 0.031, 6 pairs of runs)."
    ]


def test_the_command_repeats_no_run() -> None:
    [sentence] = conclusions(lead(2), folder=Path("my bench"))
    command = sentence.split("run craft-zoo ")[1].removesuffix(".")
    assert build_parser().parse_args(shlex.split(command)).out == Path("my bench")


def test_a_lead_that_may_be_chance_is_called_so() -> None:
    curves = {run("refine", seed): end(0.5) for seed in range(1, 9)}
    curves |= {run("craft", s): end(0.5 + 0.1 * (-1) ** s + 0.01 * s) for s in range(1, 9)}
    [sentence] = conclusions(curves)
    assert ", 4.5 points above refine, which may be chance (p = 0." in sentence
    assert ": take either, or run craft-zoo bench" in sentence
    assert sentence.endswith(" --seeds 16.")
    for seed in range(9, 15):  # the seeds that it proposes would be many
        curves[run("refine", seed)] = end(0.5)
        curves[run("craft", seed)] = end(0.5 + 0.1 * (-1) ** seed)
    assert conclusions(curves)[0].endswith("take either.")


def test_many_pairs_of_few_seeds_are_enough_to_test() -> None:
    tasks = [f"folder:{name}" for name in "abcdefgh"]
    curves = {run("refine", s, dataset=task): end(0.5) for task in tasks for s in (1, 2)}
    curves |= {
        run("craft", s, dataset=task): end(0.501 + 0.1 * (-1) ** s)
        for task in tasks
        for s in (1, 2)
    }
    [sentence] = conclusions(curves)
    assert ", which may be chance (p = 0." in sentence
    assert ", 16 pairs of runs): take either, or run craft-zoo bench" in sentence
    assert sentence.endswith(" --seeds 4.")


def test_tasks_without_a_seed_in_common_are_not_compared() -> None:
    curves = {run("refine", 1): end(0.1), run("craft", 2): end(0.9)}
    assert conclusions(curves) == ["No seed was run with all methods."]
    other = {replace(each, dataset=DatasetSpec("folder:a")): end(0.5) for each in lead(1)}
    [sentence] = conclusions(curves | other)
    assert sentence.startswith("refine and craft (logit-gn) tie at 50.0 % on a, 16 shots (1 ")
    assert "(1 pair of runs): take either, or run craft-zoo bench" in sentence


def test_tasks_of_more_seeds_count_more_as_in_the_tables() -> None:
    curves = {run("refine", seed): end(0.5) for seed in range(1, 6)}
    curves |= {run("craft", seed): end(0.52) for seed in range(1, 6)}
    curves |= {
        run("refine", dataset="folder:a"): end(0.8),
        run("craft", dataset="folder:a"): end(0.74),
    }
    [sentence] = conclusions(curves)
    assert sentence.startswith(
        "The most accurate is craft (logit-gn): 55.7 % in the mean of 6 runs on 2 tasks, "
        "0.7 points above refine"
    )
    scores = score_table(tidy(curves))
    assert scores.mean().round(4).to_dict() == {"refine": 0.55, "craft (logit-gn)": 0.5567}


def test_equal_methods_tie_and_small_leads_are_not_zero() -> None:
    seeds = range(1, 13)
    curves = {run("refine", seed): end(0.5) for seed in seeds}
    curves |= {run("craft", seed): end(0.5 + 0.1 * (-1) ** seed) for seed in seeds}
    [sentence] = conclusions(curves)
    assert sentence == (
        "refine and craft (logit-gn) tie at 50.0 % on digits, 16 shots (12 pairs of runs): "
        "take either."
    )
    curves |= {run("prompt", seed): end(0.5) for seed in seeds}
    [sentence] = conclusions(curves)
    assert sentence.startswith("refine, craft (logit-gn) and prompt tie at 50.0 % on digits")
    assert sentence.endswith(": take any of them.")
    ahead = {run("craft", seed): end(0.5 + 1e-5 * seed) for seed in seeds}
    [sentence] = conclusions({run("refine", seed): end(0.5) for seed in seeds} | ahead)
    assert ", less than 0.1 points above refine (p < 0.001, 12 pairs of runs)." in sentence


def test_methods_are_compared_on_the_same_tasks_and_by_track() -> None:
    curves = lead(6)
    curves |= {
        replace(each, dataset=DatasetSpec("folder:a")): end(points[0].accuracy - 0.2)
        for each, points in curves.items()
    }
    curves |= {run("anchors", seed): end(0.9, cost=3) for seed in (1, 2)}
    curves |= {run("anchors", seed, dataset="folder:a"): end(0.6, cost=3) for seed in (1, 2)}
    curves[run("zip")] = end(0.99)  # on one task only
    one, other = conclusions(curves)
    assert one.startswith(
        "Of the methods whose deployed image costs one prediction, the most accurate is "
        "craft (logit-gn): 50.7 % in the mean of 2 tasks, 10.7 points above refine (p < 0.001"
    )
    assert other == (
        "Of the methods with anchors, anchors reaches 75.0 % in the mean of 2 tasks for 3.0 "
        "predictions a deployed image."
    )


@pytest.mark.parametrize("config", [CraftConfig(), CraftConfig(lr=0.1)])
def test_runs_with_different_settings_have_no_command_in_common(config: CraftConfig) -> None:
    command = command_with_seeds([run("craft"), run("refine", config=config)], 5)
    assert (command is None) == (config != CraftConfig())
