"""The table of what optimizers reach on noisy functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from craft_zoo.benchmarks import noisy


def test_a_table_is_made_by_the_command(tmp_path: Path) -> None:
    some = [noisy.NOISY, noisy.HANDLER, "spsa"]
    arguments = [part for each in some for part in ("--optimizer", each)]
    size = ["--dimension", "2", "--budget", "60", "--seeds", "1", "--noise", "0.01"]
    out = tmp_path / "table.md"
    noisy.main([*arguments, *size, "--out", str(out)])
    head, _, _, _, *lines = out.read_text().splitlines()
    assert head == "2 variables, 120 evaluations, noise of 0.01, median of 1 seeds"
    cells = [line.strip("| ").split(" | ") for line in lines[:3]]
    assert [each[0] for each in cells] == [f"`{each}`" for each in some]
    assert all(float(each[1]) < 0.5 for each in cells)


def test_the_noise_is_added_to_the_losses_and_not_to_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def find(name: str, f: noisy.Function, dimension: int, budget: int, seed: int) -> np.ndarray:
        seen.extend(f(np.zeros(dimension)) for _ in range(200))
        return np.ones(dimension)

    monkeypatch.setattr(noisy, "find", find)
    assert noisy.share("spsa", lambda z: 8.0 - z.sum(), 2, 10, 0.5, seed=1) == 6 / 8
    assert 3.5 < np.std(seen) < 4.5
