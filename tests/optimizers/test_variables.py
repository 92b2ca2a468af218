"""Mixed variables of minimize: Real, Integer and Choice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.optimizers import Choice, Integer, OptimizerError, Real, create, maximize, minimize

SPACE = {
    "lr": Real(1e-5, 1e-1, log=True),
    "layers": Integer(1, 8),
    "units": Integer(8, 1024, log=True),
    "act": Choice(["relu", "gelu", None]),
}


def loss(p: dict[str, Any]) -> float:
    assert type(p["lr"]) is float
    assert type(p["layers"]) is type(p["units"]) is int
    wrong = {"relu": 1.0, "gelu": 0.0, None: 2.0}[p["act"]]
    return (
        wrong
        + (math.log10(p["lr"]) + 2) ** 2
        + (p["layers"] - 6) ** 2 / 9
        + math.log2(p["units"] / 64) ** 2
    )


@pytest.mark.parametrize("optimizer", ["auto", "random", "spsa", "nevergrad:OnePlusOne"])
def test_a_mixed_function_is_called_with_plain_values(optimizer: str) -> None:
    result = minimize(loss, space=SPACE, budget=150, optimizer=optimizer, seed=1)
    assert result.loss == loss(result.x)
    assert list(result.x) == list(result.recommended) == list(SPACE)
    table = result.history
    assert list(table)[4:] == list(SPACE)
    assert table["layers"].between(1, 8).all()
    assert table["lr"].between(1e-5, 1e-1).all()
    best = table.loc[table["loss"].idxmin()]
    assert (best["lr"], best["layers"]) == (result.x["lr"], result.x["layers"])
    assert f"{result.x}" in repr(result)


def test_auto_finds_the_whole_numbers_and_choices() -> None:
    for seed in range(3):
        result = minimize(loss, space=SPACE, budget=300, seed=seed)
        assert result.optimizer == "auto:stages=one-plus-one*120+cma"
        assert result.loss < 0.1
        assert (result.x["layers"], result.x["act"]) == (6, "gelu")
    for options, chosen in (
        ({"budget": 100}, "one-plus-one"),
        ({"budget": 900}, "auto:stages=one-plus-one*120+cma"),
        ({"budget": 100, "parallel": True}, "snes:popsize=9"),
        ({"budget": 900, "parallel": True}, "auto:stages=snes*600+cma"),
    ):
        assert create("auto", 6, seed=1, rounded=True, **options).spec == chosen
    assert maximize(lambda p: -loss(p), space=SPACE, budget=300, seed=seed).x == result.x


def test_the_start_is_x0_or_the_middle() -> None:
    def first(x0: Any, space: Any = SPACE) -> Any:
        nothing = minimize(
            lambda p: math.nan, x0, space=space, budget=9, optimizer="random:popsize=9"
        )
        return nothing.x

    assert first(None) == {"lr": pytest.approx(1e-3), "layers": 4, "units": 88, "act": "relu"}
    assert first({"units": 16, "act": None}) == first(None) | {"units": 16, "act": None}
    assert first([3, 0.25], [Integer(3, 4), Real(0, 1)]) == [3, 0.25]
    asked: list[Any] = []
    start = {"lr": 0.02, "layers": 8, "units": 8, "act": "gelu"}
    minimize(lambda p: asked.append(p) or 1.0, start, space=SPACE, budget=3, optimizer="powell")
    assert asked[0] == start | {"lr": pytest.approx(0.02)}


@pytest.mark.parametrize(
    ("optimizer", "chosen"), [("auto", "genetic"), ("hill-climb", "hill-climb"), ("cma", "cma")]
)
def test_choices_alone_are_searched_as_such_where_the_optimizer_can(
    optimizer: str, chosen: str
) -> None:
    space = [Choice(list("abcdef"[:n])) for n in (3, 4, 5, 6)]
    start = ["c", "a", "b", "f"]
    result = minimize(
        lambda word: sum(ord(each) - 97 for each in word),
        start,
        space=space,
        budget=240,
        optimizer=optimizer,
        seed=1,
    )
    assert result.optimizer == chosen
    assert result.x == ["a"] * 4
    assert list(result.history)[4:] == ["x0", "x1", "x2", "x3"]
    assert minimize(lambda word: math.nan, start, space=space, budget=40).recommended == start


@given(
    low=st.integers(1, 50),
    width=st.integers(1, 60),
    log=st.booleans(),
    u=st.floats(0, 1),
    data=st.data(),
)
def test_coordinates_and_values_belong_together(
    low: int, width: int, log: bool, u: float, data: st.DataObject
) -> None:
    whole, real = Integer(low, low + width, log), Real(low, low + width, log)
    for each in (whole, real):
        assert low <= each.value(np.array([u])) <= low + width
        assert each.value(np.array([0.0])) == low
        assert each.value(np.array([1.0])) == low + width
    value = data.draw(st.integers(low, low + width))
    assert whole.value(np.array(whole.units(value))) == value
    assert real.value(np.array(real.units(value))) == pytest.approx(value)
    choice = Choice(range(low, low + width + 1))
    assert choice.value(np.array(choice.units(value))) == value


def test_whole_numbers_have_equal_parts() -> None:
    values = [Integer(0, 3).value(np.array([u])) for u in np.linspace(0.0001, 0.9999, 400)]
    assert np.bincount(values).tolist() == [100] * 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(1, 1), r"Real\(low=1.0, high=1.0, log=False\) is no interval: give finite"),
        (lambda: Real(0, "1"), "is no interval"),
        (lambda: Real(0, math.inf), "is no interval"),
        (lambda: Real(0, 1, log=True), "has no logarithm: give bounds above 0"),
        (lambda: Integer(1, 8.5), "is no interval: give whole numbers"),
        (lambda: Choice("ab"), "is no choice: give a list of two values or more"),
        (lambda: Choice(["a"]), "is no choice"),
        (lambda: Choice(3), "is no choice"),
        (lambda: Real(-1.7e308, 1.7e308), "bounds of Real are too far apart"),
        (lambda: Integer(0, 10**5000), "bounds of Integer are too far apart"),
        (lambda: Integer(2**60, 2**60 + 1000), "do not tell apart: search their distance"),
        (lambda: Choice([np.zeros(2), np.zeros(3)]).index(np.zeros(4)), "which is no value of"),
        (lambda: minimize(sum, 0.5, space=[Real(0, 1)], budget=9), "a list of 1 values"),
        (
            lambda: minimize(loss, space={1: Real(0, 1), "1": Real(0, 1)}, budget=9),
            "two variables have the same name",
        ),
        (lambda: minimize(loss, space=SPACE, bounds=(0, 1), budget=9), "bounds of their own"),
        (lambda: minimize(loss, space={}, budget=9), "space has no variable"),
        (lambda: minimize(loss, space=3, budget=9), "must be a dict or a list of variables"),
        (lambda: minimize(loss, space=[(0, 1)], budget=9), "which is no variable: write Real"),
        (lambda: minimize(loss, space={"error": Real(0, 1)}, budget=9), "'error', which is a col"),
        (
            lambda: minimize(loss, {"lr": 1}, space=SPACE, budget=9),
            "x0 has 1, which is no value of",
        ),
        (lambda: minimize(loss, {"act": "elu"}, space=SPACE, budget=9), "x0 has 'elu', which is"),
        (lambda: minimize(loss, {"a": 1}, space=SPACE, budget=9), "a dict with values of lr, lay"),
        (lambda: minimize(loss, [1], space=list(SPACE.values()), budget=9), "a list of 4 values"),
        (lambda: minimize(loss, space=SPACE, budget=9, optimizer="genetic"), "not numbers"),
    ],
)
def test_what_is_wrong_is_named(make: Any, message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        make()
