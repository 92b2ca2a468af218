"""Prices of services as of November 2026; ``--price`` overrules them."""

from __future__ import annotations

from typing import TypeVar

from craft_zoo.blackbox.usage import Price

Given = TypeVar("Given")

# In US dollars a token.
_PRICES = {
    "openai:gpt-6-luna": Price(input_tokens=0.10e-6),
}


def price_of(model: str, given: Given | None) -> Given | Price | None:
    """The price that the user gives, else the published one of the model's whole name, if known."""
    return _PRICES.get(model) if given is None else given
