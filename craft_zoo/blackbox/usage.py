"""Amounts that a service bills (predictions, requests, images, tokens), and their prices."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

from craft_zoo.errors import CraftZooError


@dataclass(frozen=True)
class Usage:
    """Amounts of everything that services bill.

    Attributes:
        predictions: (prompt, image) pairs.
        requests: HTTP requests.
        images: images sent.
        input_tokens: tokens of prompts and images.
        output_tokens: tokens of answers.
        llm_requests, llm_input_tokens, llm_output_tokens: the same of a language model that
            proposes prompts.
    """

    predictions: int = 0
    requests: int = 0
    images: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    llm_requests: int = 0
    llm_input_tokens: int = 0
    llm_output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Usage) -> Usage:
        return self + other * -1

    def __mul__(self, factor: int) -> Usage:
        return Usage(*(factor * amount for amount in astuple(self)))

    def scaled(self, factor: float) -> Usage:
        """The amounts times a factor, rounded up."""
        return Usage(*(math.ceil(factor * amount) for amount in astuple(self)))

    def as_llm(self) -> Usage:
        """The requests and tokens, counted as those of a language model."""
        return Usage(
            llm_requests=self.requests,
            llm_input_tokens=self.input_tokens,
            llm_output_tokens=self.output_tokens,
        )

    @property
    def llm(self) -> Usage:
        """The part of it that a language model bills."""
        return Usage(
            llm_requests=self.llm_requests,
            llm_input_tokens=self.llm_input_tokens,
            llm_output_tokens=self.llm_output_tokens,
        )

    def in_words(self) -> str:
        """The amounts that are not 0, as in "12 requests, 34 images"; "nothing" if all are."""
        amounts = {field.name: getattr(self, field.name) for field in fields(self)}
        words = [
            f"{amount:,} {unit_in_words(name)}"[: None if amount != 1 else -1]
            for name, amount in amounts.items()
            if amount
        ]
        return ", ".join(words) or "nothing"


UNITS = tuple(field.name for field in fields(Usage))[1:]
"""Names of all amounts except predictions."""


def unit_in_words(name: str) -> str:
    """The name of a field of :class:`Usage` in words, as in "LLM input tokens"."""
    return name.replace("_", " ").replace("llm", "LLM")


# Number of units for which services quote prices.
_QUOTED = {
    "predictions": 1000,
    "requests": 1,
    "images": 1,
    "input_tokens": 10**6,
    "output_tokens": 10**6,
    "llm_requests": 1,
    "llm_input_tokens": 10**6,
    "llm_output_tokens": 10**6,
}


@dataclass(frozen=True)
class Price:
    """Prices in any currency, each of one unit of :class:`Usage`.

    Raises:
        CraftZooError: a price is negative or not finite.
    """

    predictions: float = 0.0
    requests: float = 0.0
    images: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    llm_requests: float = 0.0
    llm_input_tokens: float = 0.0
    llm_output_tokens: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise CraftZooError(
                    f"the price of {unit_in_words(field.name)} must be a number, at least 0, "
                    f"not {value}"
                )

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read prices as a user writes them.

        Args:
            text: the price of 1,000 predictions, "2.5"; or prices by unit,
                "input_tokens=0.1,images=0.002": of a million tokens, of 1,000 predictions, of one
                request and of one image.

        Raises:
            CraftZooError: a unit is unknown or occurs twice, as it does in "2,5", or a price is no
                number or negative.
        """
        prices: dict[str, float] = {}
        for part in text.split(","):
            unit, equals, number = part.rpartition("=")
            unit = unit.strip() if equals else "predictions"
            if unit not in _QUOTED:
                raise CraftZooError(f"a price has no unit {unit!r}: use {', '.join(_QUOTED)}")
            if unit in prices:
                raise CraftZooError(
                    f"{text!r} has two prices of {unit_in_words(unit)}: give one, with a point "
                    f"before decimals, as in 2.5"
                )
            try:
                prices[unit] = float(number) / _QUOTED[unit]
            except ValueError:
                raise CraftZooError(f"the price {part.strip()!r} is no number") from None
        return cls(**prices)

    @property
    def knows_llm(self) -> bool:
        """Whether it has a price of a language model's requests or tokens."""
        return bool(self.llm_requests or self.llm_input_tokens or self.llm_output_tokens)

    def cost(self, usage: Usage) -> float:
        """Cost of a usage, in the currency of the prices."""
        return sum(a * b for a, b in zip(astuple(self), astuple(usage), strict=True))


def amount(cost: float) -> str:
    """An amount of money to two decimals, or "less than 0.01"."""
    return "less than 0.01" if 0 < cost < 0.005 else f"{cost:,.2f}"


def short_amount(cost: float) -> str:
    """An amount of money to two decimals, below 1 to three digits; "" for NaN, unknown."""
    if math.isnan(cost):
        return ""
    decimals, digits = f"{cost:,.2f}", f"{cost:.3g}"
    return decimals if cost >= 1 or float(decimals) == float(digits) else digits


def exact_amount(cost: float) -> str:
    """An amount of money with all its decimals, which a message compares with a limit."""
    return f"{cost:,.9f}".rstrip("0").removesuffix(".")
