"""Accuracies that papers have published, to be shown beside measured ones."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

SOURCES = {
    "craft-paper": "Wang et al., ICML 2024 (arXiv 2402.04050), released log; mean of three seeds"
}


@cache
def published_accuracies() -> pd.DataFrame:
    """All published accuracies.

    Returns:
        Columns source (a key of :data:`SOURCES`), model, dataset (trained on), tested_on ("": the
        same data set), method, shots (NaN: zero-shot), queries, accuracy (in [0, 1]).
    """
    with resources.files(__package__).joinpath("published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, keep_default_na=False)
    table["shots"] = pd.to_numeric(table["shots"])
    table["accuracy"] /= 100
    return table


def accuracies_for(dataset: str, shots: int, tested_on: str = "") -> pd.DataFrame:
    """Published accuracies for a task with ``shots`` shots, and those without any shots.

    Args:
        dataset: as given to :func:`craft_zoo.data.load_dataset`; a local ``folder:...`` matches no
            published data set.
        shots: training images per class.
        tested_on: another data set on which the solution is tested ("": the same).
    """
    table = published_accuracies()
    mine = (table["dataset"] == dataset) & (table["tested_on"] == tested_on)
    return table[mine & ((table["shots"] == shots) | table["shots"].isna())]
