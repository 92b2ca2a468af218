"""The table of what optimizers reach in many variables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from craft_zoo.benchmarks import large


def test_the_functions_have_their_least_value_0_away_from_the_start() -> None:
    for name, function in large.functions(30).items():
        assert function(np.zeros(30)) > 1, name
    goal = np.random.default_rng(30).standard_normal((2, 30))[0]
    found = large.functions(30)
    assert found["Rosenbrock"](np.ones(30)) == 0
    assert all(found[name](goal) == 0 for name in ("sphere", "ellipsoid", "rotated ellipsoid"))


def test_a_table_is_made_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["--optimizer", "l-bfgs", "--optimizer", "random:start=true"]
    large.main(["--quick", *some, "--out", str(tmp_path / "table.md")])
    head, _, *lines = (tmp_path / "table.md").read_text().splitlines()
    assert head == "20 variables, 400 evaluations, median of 1 seeds"
    assert lines[0].startswith(
        "| optimizer | sphere | ellipsoid | rotated ellipsoid | Rosenbrock |"
    )
    cells = [line.strip("| ").split(" | ") for line in lines[2:4]]
    assert [each[0] for each in cells] == ["`l-bfgs`", "`random:start=true`"]
    assert float(cells[0][1]) < 1e-9
    assert all(float(share) <= 1 for share in cells[1][1:5])
    large.main(
        ["--dimension", "101", "--budget", "4", "--seeds", "1", *some, "--optimizer", "cobyqa"]
    )
    assert "Left out: cobyqa (it is for up to about 50 variables)" in capsys.readouterr().out


def test_all_optimizers_of_numbers_are_listed() -> None:
    found = large.default_specs()
    assert {"auto", "cma", "l-bfgs", "random:start=true", "spsa", "zo-adam", "nevergrad"} <= set(
        found
    )
    assert not {"genetic", "columns", "logit-gn"} & set(found)
