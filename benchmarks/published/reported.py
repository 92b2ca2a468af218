"""Reference rows: accuracies as papers and their released logs report them."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

SOURCES = {
    "craft-paper": "Wang et al., ICML 2024 (arXiv 2402.04050), released log; mean of three seeds"
}


@cache
def published_figures() -> pd.DataFrame:
    """All figures.

    Returns:
        Columns source (a key of :data:`SOURCES`), model, dataset (that was trained on), tested_on
        ("": the same), method, shots (NaN: none), queries, accuracy (a share).
    """
    with resources.files(__package__).joinpath("figures.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, keep_default_na=False)
    table["shots"] = pd.to_numeric(table["shots"])
    table["accuracy"] /= 100
    return table


def figures_for(dataset: str, shots: int, tested_on: str = "") -> pd.DataFrame:
    """What was published for a task: with so many shots, and without any.

    Args:
        dataset: as given to :func:`craft_zoo.data.load_dataset`; a folder of one's own is none of
            the published data sets, whatever its name.
        shots: training images a class.
        tested_on: another data set that the solution was tried on.
    """
    table = published_figures()
    mine = (table["dataset"] == dataset) & (table["tested_on"] == tested_on)
    return table[mine & ((table["shots"] == shots) | table["shots"].isna())]
