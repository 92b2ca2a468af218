"""Accuracies that papers have published, for comparison with measured ones."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

SOURCES = {
    "craft-paper": "Wang et al., ICML 2024 (arXiv 2402.04050), released log; mean of three seeds",
    "sharpzo-paper": "Yang et al., NeurIPS 2025 (arXiv 2506.20990), means of its tables",
    "timo-paper": "Li et al., AAAI 2025 (arXiv 2412.11375), means",
}
"""The papers.

The means of the last two are from a summary, not from the papers' tables. The summary names ZIP
among the rows of SharpZO's table, and does not say which table has ZIP's mean.
"""

MEAN = "mean"
"""Data set of the rows that are means over the data sets of a paper."""


@cache
def published_accuracies() -> pd.DataFrame:
    """All published accuracies.

    Returns:
        Columns source (a key of :data:`SOURCES`), model ("": not known), dataset (trained on, or
        :data:`MEAN`), tested_on ("": the same data set), method, shots (NaN: zero-shot, or not
        stated), queries (NaN: not known), accuracy (in [0, 1]), access (``black box``,
        ``white box``, ``vectors``, or "" for the unadapted model), note (``doubtful``: an accuracy
        that does not fit the others of its row).
    """
    with resources.files(__package__).joinpath("published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, keep_default_na=False)
    for column in ("shots", "queries"):
        table[column] = pd.to_numeric(table[column])
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
