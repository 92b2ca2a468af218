"""The table of auto against its peers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from craft_zoo.benchmarks import auto_table
from craft_zoo.benchmarks.bbob.peers import PEERS, missing
from craft_zoo.benchmarks.bbob.problems import Problem


def test_the_command_writes_areas_and_paired_intervals(tmp_path: Path) -> None:
    functions = ["--function", "1", "--function", "8"]
    size = ["--dimension", "3", "--budget", "12", *functions]
    out = tmp_path / "table.md"
    peers = ["--peer", "random", "--peer", "auto"]
    auto_table.main([*size, *peers, "--out", str(out)])
    head, _, ours, worse, same = out.read_text().split("\n")[:5]
    assert head.startswith("| d = 3, 12 d |")
    area = ours.split(" | ")[1].strip(" |")
    assert same == f"| `auto` | {area} (+0.000 to +0.000) |"
    assert float(worse.split(" | ")[1].split()[0]) < float(area)


def test_a_peer_that_is_ahead_is_bold() -> None:
    ours, ahead = pd.Series([0.1, 0.2]), pd.Series([0.2, 0.3])
    assert auto_table.compare(ours, ahead) == "**0.250** (-0.100 to -0.100)"


@pytest.mark.parametrize("peer", PEERS)
def test_other_libraries_keep_the_budget_or_end_when_solved(peer: str) -> None:
    if missing(peer):
        pytest.skip(f"{peer} is not installed")
    problem = Problem(1, 1, 2)
    auto_table.solver(peer).run(problem, 400, seed=1)
    assert problem.precision < 1
    assert problem.solved or 380 < problem.evaluations <= 420


def test_peers_take_the_population_that_fits_the_dimension() -> None:
    assert "cobyqa" in auto_table.peers(10)
    assert auto_table.peers(20)[0] == "cma:popsize=12,restarts=bipop"
    assert "cobyqa" not in auto_table.peers(20)
