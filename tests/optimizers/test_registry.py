"""Optimizers by name, and their options."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from craft_zoo.optimizers import (
    Optimizer,
    OptimizerError,
    create,
    names,
    options,
    plugins,
    register,
)
from craft_zoo.optimizers.registry import REGISTRY


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "cmaa",
            r"unknown optimizer 'cmaa': did you mean 'cma'\? choose from auto, cma, cobyqa",
        ),
        ("quantum", "unknown optimizer 'quantum': choose from auto, cma, cobyqa, columns"),
        ("cma:popsiz=3", "'cma' has no option 'popsiz': did you mean 'popsize'"),
        ("cma:popsize=big", "'popsize' of optimizer 'cma' must be int, not 'big'"),
        ("cma:bound=wide", "'bound' of optimizer 'cma' must be float or none"),
        ("cma:diagonal=maybe", "'diagonal' of optimizer 'cma' must be bool"),
        ("cma:step=long", "'step' of optimizer 'cma' must be auto or csa or tpa, not 'long'"),
        ("cma:restarts=1", "'restarts' of optimizer 'cma' must be none or ipop or bipop"),
        ("cma:popsize=2", "'popsize' of 'cma' must be at least 4"),
        ("cma:sigma=0", "'sigma' of 'cma' must be above 0"),
        ("cma:popsize=np.int64(5)", "'popsize' of optimizer 'cma' must be int, not 'np.int64"),
        ("sep-cma:bound=-1", "'bound' of 'sep-cma' must be above 0"),
        ("vkd-cma:popsize=200", "budget of 100 is smaller than one generation of 'vkd-cma'"),
        ("cma:NGOpt", "has no variants"),
        ("cma:popsize=", "write option=value"),
        ("spsa:step=-1", "'step' of 'spsa' must be above 0"),
        ("spsa-gc:momentum=1", r"'momentum' of 'spsa-gc' must be in \[0, 1\)"),
        ("spsa-clip:directions=0", "'directions' of 'spsa-clip' must be at least 1"),
        ("zo-adam:lr=nan", "'lr' of 'zo-adam' must be above 0"),
        ("snes:popsize=1", "'popsize' of 'snes' must be at least 2"),
        ("random:sigma=-1", "'sigma' of 'random' must be above 0"),
        ("nevergrad:NGOp", "nevergrad has no optimizer 'NGOp': did you mean NGOpt"),
        ("nevergrad:ngopt", "nevergrad has no optimizer 'ngopt': did you mean NGOpt"),
        ("nevergrad:NGOpt:workers=0", "at least 1"),
        ("nevergrad:SMAC3", "nevergrad's SMAC3 fails in 10 dimensions with a budget of 100"),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        create(spec, 10, budget=100, seed=1).ask()


def test_options_are_what_the_constructors_declare() -> None:
    declared = {option.name: option for option in options("cma")}
    assert list(declared)[:2] == ["popsize", "sigma"]
    assert (declared["popsize"].type, declared["popsize"].default) == (int, 40)
    assert declared["popsize"].help == "λ, candidates a generation."
    assert declared["bound"].type_name == "float or none"
    assert declared["step"].type_name == "auto or csa or tpa"
    assert create("cma:bound=none", 3, budget=50, seed=1)
    assert create("cma", 3, budget=50, seed=1, popsize=5).ask().shape == (5, 3)
    assert create("cma:popsize=6", 3, budget=50, seed=1, popsize=5).ask().shape == (6, 3)
    for option, value in (("popsize", 10.5), ("restarts", "yes"), ("active", 1), ("sigma", None)):
        with pytest.raises(OptimizerError, match=f"'{option}' of optimizer 'cma' must be"):
            create("cma", 3, budget=50, seed=1, **{option: value})
    assert create("cma", 3, budget=50, seed=1, sigma=1, bound=None, popsize=np.int64(6))
    with pytest.raises(OptimizerError, match="has no option 'popsiz'"):
        create("cma", 3, budget=50, seed=1, popsiz=5)


def test_tpa_needs_two_variables() -> None:
    with pytest.raises(OptimizerError, match="cannot be tpa in one variable: set csa or auto"):
        create("cma:step=tpa", 1, budget=100, seed=1)


def test_a_child_has_its_parents_options_and_its_own_defaults() -> None:
    gc = {option.name: option for option in options("spsa-gc")}
    own = {"step", "calibration", "momentum"}
    assert set(gc) == {"c", "directions", "recommends", "bound"} | own
    assert {option.name: option.default for option in options("zo-adam")}["directions"] == 5
    assert gc["c"].help.startswith("distance of a candidate")


@pytest.mark.usefixtures("registered")
def test_a_new_optimizer_is_one_decorated_class() -> None:
    @register("constant")
    class Constant(Optimizer):
        """Always asks for the same point.

        Args:
            value: of every coordinate,
                everywhere.
        """

        def __init__(
            self,
            dim: int,
            *,
            budget: int,
            seed: int,
            value: float = 0.5,
            sign: Literal["plus", "minus"] = "plus",
        ) -> None:
            super().__init__(dim, budget=budget, seed=seed)
            self.value = value if sign == "plus" else -value

        def _ask(self) -> np.ndarray:
            return np.full((1, self.dim), self.value)

        def _tell(self, candidates, losses, outputs) -> None:
            pass

        def recommend(self) -> np.ndarray:
            return np.zeros(self.dim)

    assert names()["constant"] == "Always asks for the same point."
    assert options("constant")[0].help == "of every coordinate, everywhere."
    made = create("constant:value=2,sign=minus", 2, budget=3, seed=1)
    assert made.ask().tolist() == [[-2.0, -2.0]]
    assert made.name == "constant"
    with pytest.raises(OptimizerError, match="exists already"):
        register("cma")(Constant)
    with pytest.raises(OptimizerError, match="cannot be named 'a:b'"):
        register("a:b")


@pytest.mark.usefixtures("registered")
def test_a_class_that_is_not_finished_is_explained() -> None:
    @register("unfinished")
    class Unfinished(Optimizer):
        """Lacks the required methods."""

        def __init__(self, dim: int, *, budget: int, seed: int, width: float) -> None:
            super().__init__(dim, budget=budget, seed=seed)

        def _ask(self) -> np.ndarray:
            return np.zeros((1, self.dim))

    with pytest.raises(OptimizerError, match="'unfinished' needs its option 'width': set it"):
        create("unfinished", 3, budget=5, seed=1)
    with pytest.raises(OptimizerError, match="its class must implement _tell, recommend"):
        create("unfinished:width=1", 3, budget=5, seed=1)

    @register("no-super")
    class NoSuper(type(create("random", 2, budget=40, seed=1))):  # type: ignore[misc]
        """Does not call the constructor of Optimizer."""

        def __init__(self, space: int, *, budget: int, seed: int) -> None:
            self.sigma = 1.0

    with pytest.raises(OptimizerError, match="'no-super' is not finished: its __init__ must call"):
        create("no-super", 3, budget=5, seed=1)


class BrokenPoint:
    """An entry point of a package with a fault."""

    name, value = "broken", "broken_package:Broken"

    def load(self) -> None:
        raise SystemExit("bye")


@pytest.mark.usefixtures("registered")
def test_a_broken_plugin_is_named_and_leaves_the_others_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(REGISTRY, "_is_loaded", False)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [BrokenPoint()])
    assert create("cma", 3, budget=50, seed=1)
    message = r"plug-in 'broken' \(broken_package:Broken\) cannot be imported \(SystemExit: bye\)"
    with pytest.raises(OptimizerError, match=message):
        create("broken", 3, budget=50, seed=1)
    assert "cannot be imported" in names()["broken"]
