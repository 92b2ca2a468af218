"""Estimated accuracy on new images, compared with the accuracy on the test images.

    python -m craft_zoo.benchmarks.estimates --dataset folder:../shared/data/eurosat

prints, for each method and budget, accuracies in % (means over seeds): on the training images; by
cross-validating only the refiner, under the prompt that was found with all shots; by the two
estimates of :mod:`craft_zoo.estimate`; and on the test images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, load_vlm
from craft_zoo.data import LabelledImages, Task, few_shot, load_dataset
from craft_zoo.estimate import cross_validate
from craft_zoo.evaluation import evaluate
from craft_zoo.machine import use_threads
from craft_zoo.metrics import accuracy
from craft_zoo.refiner import choose_regularization, fit
from craft_zoo.refiner.folds import held_out_splits
from craft_zoo.tuning import tune


def estimates(vlm: VLM, task: Task, method: str, budget: int, seed: int) -> dict[str, float]:
    """One row of the table: accuracies in [0, 1] by column."""
    unused = task.unused
    assert unused is not None
    tuned = tune(vlm, task, method=method, budget=budget, seed=seed)
    whole = reduce(add, cross_validate(vlm, task, method=method, budget=budget, seed=seed))
    return {
        "training": _accuracy(tuned.adapter, vlm, task.train),
        "refiner alone": _refiner_alone(tuned.adapter, vlm, task.train),
        "cross-validated": whole.accuracy,
        "outside": evaluate(tuned.adapter, vlm, unused).accuracy if len(unused) else float("nan"),
        "test": _accuracy(tuned.adapter, vlm, task.test),
    }


def _accuracy(adapter: Adapter, vlm: VLM, images: LabelledImages) -> float:
    return accuracy(adapter.predict(vlm, images.images), images.labels)


def _refiner_alone(adapter: Adapter, vlm: VLM, shots: LabelledImages) -> float:
    logits, anchors, _ = adapter.ask(vlm, shots.images)
    splits = held_out_splits(shots.labels, shots.groups)
    assert splits is not None, "the table is of two shots or more"
    refined = np.empty_like(logits)
    for kept, held in splits:
        mine = None if anchors is None else anchors[kept]
        regularization = choose_regularization(logits[kept], shots.labels[kept], mine)
        refiner = fit(logits[kept], shots.labels[kept], mine, regularization=regularization)
        refined[held] = refiner.refine(logits[held], None if anchors is None else anchors[held])
    return accuracy(refined, shots.labels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of estimated and measured accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--budget", type=int, action="append", help="of craft; repeatable")
    parser.add_argument("--seed", type=int, action="append", help="repeatable")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    vlm, dataset = load_vlm(), load_dataset(options.dataset)
    runs = [("refine", 1), *(("craft", budget) for budget in options.budget or (200, 1000))]
    rows = [
        {"method": method, "queries": budget, "seed": seed}
        | estimates(vlm, few_shot(dataset, options.shots, seed), method, budget, seed)
        for seed in options.seed or (1, 2, 3)
        for method, budget in runs
    ]
    table = pd.DataFrame(rows).groupby(["method", "queries"], sort=False).mean()
    print((100 * table.drop(columns="seed")).round(1).to_string())


if __name__ == "__main__":
    main()
