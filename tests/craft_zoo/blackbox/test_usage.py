"""Prices as users write them."""

from __future__ import annotations

import pytest

from craft_zoo.blackbox import Price
from craft_zoo.errors import CraftZooError


def test_prices_by_unit() -> None:
    assert Price.parse("2.5") == Price(predictions=0.0025)
    assert Price.parse("input_tokens=0.1, images=2") == Price(input_tokens=0.1 / 10**6, images=2)


@pytest.mark.parametrize("text", ["2,5", "images=1,images=2"])
def test_two_prices_of_one_unit_are_refused(text: str) -> None:
    with pytest.raises(CraftZooError, match=r"two prices of .* as in 2\.5"):
        Price.parse(text)
