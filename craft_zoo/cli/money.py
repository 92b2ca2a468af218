"""What a command may cost, in words and within its limits."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from craft_zoo.blackbox import CostLimit, Price, Usage
from craft_zoo.blackbox.usage import amount, exact_amount
from craft_zoo.client.prices import price_of
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import find_method


def in_money(options: argparse.Namespace, model: str, usage: Usage) -> str:
    """A usage in words, with its price if that of ``--model``, or else of ``model``, is known."""
    price = price_of(options.model or model, options.price)
    return usage.in_words() + (f", a price of {amount(price.cost(usage))}" if price else "")


def check_limits(
    options: argparse.Namespace, usage: Usage, mend: str = "name fewer images"
) -> None:
    """Check ``--max-predictions`` and ``--max-cost`` before any query.

    Reaching a limit during the run would lose the predictions paid for so far.

    Args:
        options: parsed arguments.
        usage: what the command may request at most.
        mend: advice in the error message on how to request fewer.

    Raises:
        CraftZooError: the predictions may exceed one of the limits.
    """
    limits = limits_of(options)
    exceeded = limits.exceeded_by(usage)
    if exceeded == "predictions":
        raise CraftZooError(
            f"the command may ask for {usage.predictions:,} predictions, more than "
            f"--max-predictions {options.max_predictions:,}: raise that or {mend}"
        )
    if exceeded == "cost":
        assert limits.price is not None
        raise CraftZooError(
            f"the command may cost {exact_amount(limits.price.cost(usage))}, more than --max-cost "
            f"{exact_amount(options.max_cost)}: raise that or {mend}"
        )


def limits_of(options: argparse.Namespace) -> CostLimit:
    """The limits that ``--max-predictions`` and ``--max-cost`` set."""
    price = price_of(options.model or "", options.price)
    return CostLimit(options.max_predictions, price, options.max_cost)


def unpriced_llm(methods: Iterable[str], price: Price | None) -> list[str]:
    """A line if one of the methods asks a language model whose price is not given."""
    asking = any(find_method(method).pays for method in methods)
    if (price is not None and price.knows_llm) or not asking:
        return []
    return [
        "The answers of the language model have no price and count as free: add "
        "llm_input_tokens=…,llm_output_tokens=… to --price"
    ]
