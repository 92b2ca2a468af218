"""Reservations within a limit of the cost."""

from __future__ import annotations

import threading

import pytest

from craft_zoo.blackbox import CostLimit, Usage
from craft_zoo.errors import CraftZooError


def test_a_reservation_waits_for_those_that_may_turn_out_cheaper() -> None:
    limit = CostLimit(price=1.0, max_cost=3.0)
    assert limit.reserve(lambda: Usage(3)) == Usage(3)
    threading.Timer(0.02, limit.settle, [Usage(-2)]).start()
    assert limit.reserve(lambda: Usage(2)) == Usage(2)
    assert limit.predictions == 3
    limit.settle(Usage())
    with pytest.raises(CraftZooError, match=r"exceed the limit of 3 \(3 spent\)"):
        limit.reserve(lambda: Usage(1))
