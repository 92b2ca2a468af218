"""Statistics over tasks: published values and invariants."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from craft_zoo.benchmarks import (
    aggregate,
    compare,
    compare_all,
    performance_profile,
    rank,
    reached,
    runtimes,
    score_table,
)
from craft_zoo.benchmarks.significance import holm

# Areas under the ROC curve of C4.5 with and without tuning of m and cf on 14 UCI data sets:
# Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006), table 6.
DEMSAR = pd.DataFrame(
    [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (
            0.972,
            0.981,
            0.9751,
            0.975,
        ),  # printed 0.975 twice and ranked 2, 3: not equal before rounding
        (0.957, 0.978, 0.946, 0.970),
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
    index=pd.MultiIndex.from_tuples(
        [(f"set {i}", 16, 1) for i in range(14)], names=["dataset", "shots", "seed"]
    ),
)


def test_ranks_are_those_of_demsar() -> None:
    """His section 3.2.4: average ranks, Friedman's and Iman-Davenport's statistic, and the CD."""
    found = rank(DEMSAR)
    assert found.ranks.round(3).to_dict() == {
        "C4.5": 3.143,
        "C4.5+m": 2.0,
        "C4.5+cf": 2.893,
        "C4.5+m+cf": 1.964,
    }
    assert found.chi_square == pytest.approx(9.28, abs=0.01)
    assert found.f == pytest.approx(3.69, abs=0.01)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.tasks == 14
    assert found.p < 0.05


def test_signed_ranks_are_those_of_demsar() -> None:
    """His table 2: of C4.5 and C4.5+m the smaller sum of ranks is 12, below the critical 21."""
    found = compare(DEMSAR, "C4.5", "C4.5+m")
    assert found.pairs == 14
    assert found.p < 0.05
    assert found.p == stats.wilcoxon((DEMSAR["C4.5+m"] - DEMSAR["C4.5"]).round(3)).pvalue
    assert found.wins == pytest.approx((10 + 2 / 2) / 14)
    assert found.difference == pytest.approx(0.0155, abs=0.0002)
    assert np.isnan([found.low, found.high]).all()  # one seed a task: nothing to draw from


def test_rounding_errors_break_no_ties() -> None:
    """Of 200 images, equal differences in images are equal, and so are means of equal sums."""
    more = np.array([5, 2, -3, 6, -2, 3, 3, 6, 3, -1, 0])
    base = np.array([92, 102, 94, 100, 93, 96, 102, 102, 92, 107, 92])
    index = pd.MultiIndex.from_product([["d"], [16], range(11)], names=["dataset", "shots", "seed"])
    scores = pd.DataFrame({"base": base / 200, "other": (base + more) / 200}, index=index)
    assert compare(scores, "base", "other").p == stats.wilcoxon(more).pvalue > 0.05
    tied = pd.DataFrame({"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1]}, index=index[:3])
    tied = pd.concat([tied, tied.rename(index={"d": "e"})])
    assert rank(tied).ranks.tolist() == [1.5, 1.5]


def test_holm_is_as_published() -> None:
    """Holm (1979), with the p-values of the worked example in Demšar's section 3.2.2."""
    p = np.array([0.016, 0.607, 0.019])
    assert holm(p) == pytest.approx([0.048, 0.607, 0.048])


@settings(max_examples=60, deadline=None)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_helps_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(np.array(p))
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


def made(effect: float, n_tasks: int = 4, seeds: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [[f"t{i}" for i in range(n_tasks)], [16], range(seeds)], names=["dataset", "shots", "seed"]
    )
    level = np.repeat(rng.uniform(0.3, 0.8, n_tasks), seeds)  # tasks differ more than methods
    base = level + 0.01 * rng.standard_normal(len(index))
    other = level + effect + 0.01 * rng.standard_normal(len(index))
    return pd.DataFrame({"base": base, "other": other}, index=index)


def test_a_difference_is_found_where_there_is_one() -> None:
    found = compare(made(0.03), "base", "other")
    assert found.low < 0.03 < found.high
    assert found.low > 0
    assert found.p < 0.001
    none = compare(made(0.0), "base", "other")
    assert none.low < 0 < none.high
    assert none.p > 0.05
    back = compare(made(0.03), "other", "base")
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )


@pytest.mark.slow
def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    index = made(0).index
    covered = 0
    for _ in range(200):
        scores = pd.DataFrame(
            {"base": np.zeros(len(index)), "other": rng.standard_normal(len(index))}, index=index
        )
        found = compare(scores, "base", "other")
        covered += found.low <= 0 <= found.high
    assert 0.86 <= covered / 200 <= 0.99  # a bootstrap of 5 seeds a task is a little too narrow


def test_few_pairs_cannot_be_significant() -> None:
    found = compare(made(0.05, n_tasks=1, seeds=3), "base", "other")
    assert found.p == found.least_p == 0.25
    same = made(0.0)
    same["other"] = same["base"]
    tie = compare(same, "base", "other")
    assert (tie.p, tie.wins, tie.difference) == (1.0, 0.5, 0.0)


def test_every_method_against_one() -> None:
    scores = made(0.03)
    scores["third"] = scores["base"] - 0.02
    table = compare_all(scores, "base").set_index("label")
    assert list(table.index) == ["other", "third"]
    assert (table["corrected"] >= table["p"]).all()
    assert table.loc["third", "difference"] == pytest.approx(-0.02)


def test_aggregates() -> None:
    scores = made(0.03)
    table = aggregate(scores).set_index("label")
    values = np.sort(scores["base"].to_numpy())
    assert table.loc["base", "mean"] == pytest.approx(values.mean())
    assert table.loc["base", "median"] == pytest.approx(np.median(values))
    assert table.loc["base", "iqm"] == pytest.approx(values[5:15].mean())
    for name in ("mean", "median", "iqm"):
        assert (table[f"{name}_low"] < table[name]).all()
        assert (table[name] < table[f"{name}_high"]).all()
    # Within tasks seeds hardly differ: the interval knows, though tasks differ widely.
    assert table.loc["base", "mean_high"] - table.loc["base", "mean_low"] < 0.02


def points(label: str, seed: int, *curve: tuple[int, float], dataset: str = "d") -> pd.DataFrame:
    about = {"dataset": dataset, "shots": 16, "label": label, "seed": seed, "budget": 100}
    return pd.DataFrame([about | {"queries": q, "accuracy": a} for q, a in curve])


CURVES = pd.concat(
    [
        points("a", 1, (0, 0.2), (10, 0.6), (50, 0.5), (100, 0.8)),
        points("a", 2, (0, 0.2), (20, 0.7)),
        points("b", 1, (0, 0.2), (60, 0.6)),
        points("b", 2, (0, 0.2), (80, 0.4)),
    ]
)


def test_scores_are_ends_or_areas() -> None:
    ends = score_table(CURVES)
    assert list(ends.columns) == ["a", "b"]
    assert ends["a"].tolist() == [0.8, 0.7]
    areas = score_table(CURVES, "area")
    assert areas["b"].tolist() == pytest.approx([0.6 * 0.2 + 0.4 * 0.6, 0.8 * 0.2 + 0.2 * 0.4])


def test_profiles_and_runtimes_count_runs() -> None:
    profile = performance_profile(score_table(CURVES), [0.3, 0.5, 0.75])
    assert profile["a"].tolist() == [1.0, 1.0, 0.5]
    assert profile["b"].tolist() == [1.0, 0.5, 0.0]
    times = runtimes(CURVES, {("d", 16): np.array([0.4, 0.6, 0.9])})
    first = times[(times["label"] == "a") & (times["seed"] == 1)]
    assert first["queries"].tolist() == [10, 10, np.inf]
    shares = reached(times, [0, 10, 60, 100])
    assert shares["a"].tolist() == pytest.approx([0, 2 / 6, 4 / 6, 4 / 6])
    assert shares["b"].tolist() == pytest.approx([0, 0, 2 / 6, 3 / 6])
    assert (
        reached(runtimes(CURVES), [100]).loc[100, "a"]
        > reached(runtimes(CURVES), [100]).loc[100, "b"]
    )
