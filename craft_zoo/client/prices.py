"""Prices of services as of November 2026; ``--price`` overrules them."""

from __future__ import annotations

from craft_zoo.blackbox.usage import Price

# In US dollars a token.
_PRICES = {
    "openai:gpt-6-luna": Price(input_tokens=0.10e-6),
}


def published_price(model: str) -> Price | None:
    """The published price of a model by its whole name; None: unknown."""
    return _PRICES.get(model)
