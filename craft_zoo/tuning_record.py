"""Record of how an adapter was tuned, which is saved with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

# Longer names, and ones with control characters, are refused in files.
_Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Point = tuple[_Count, Annotated[float, Field(ge=0, le=1)]]
CURVE_POINTS = 100


@dataclass(frozen=True)
class TuningRecord:
    """Record of how an adapter was tuned.

    Attributes:
        method: name of the method.
        optimizer: spec of the optimizer; None: the method has none.
        dataset: name of the data set.
        images: number of training images.
        seed: seed of all random draws.
        queries: number of queries.
        predictions: number of predictions that a service would bill, without an estimate of the
            accuracy.
        cost: price of all that was billed, in the currency of the prices; None: unknown.
        curve: after up to 100 generations, the number of queries and the accuracy in [0, 1] of the
            best candidate on the training images; None: it was not measured twice.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    method: _Text
    optimizer: _Text | None
    dataset: _Text
    images: _Count
    seed: Annotated[int, Field(ge=0)]
    queries: _Count
    predictions: _Count
    cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    curve: Annotated[tuple[_Point, ...], Field(min_length=1, max_length=CURVE_POINTS)] | None = None
