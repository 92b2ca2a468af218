"""Tokens in the inner layers of open_clip's transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from craft_zoo.openclip.text import Model

_CLIPPED = 5  # times that outliers are clipped
_OUTLIER = 3.0  # standard deviations from the mean


def layers_of(tower: Model) -> Sequence[nn.Module]:
    """The layers of a tower that is a transformer of open_clip; of all others none."""
    return getattr(getattr(tower, "transformer", None), "resblocks", ())


@contextmanager
def inner_tokens(tower: Model, places: slice, tokens: Sequence[Tensor] | Tensor) -> Iterator[None]:
    """Within, the layers behind the first read tokens in some places of their input.

    Args:
        tower: a tower, which must have L layers unless there are no tokens.
        places: n places in a sequence.
        tokens: (L - 1, n, width), those of the second layer first.
    """
    layers = layers_of(tower)
    is_batch_first = not layers or getattr(tower.transformer, "batch_first", True)

    def put(layer: nn.Module, own: Tensor) -> None:
        def insert(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            states = given[0].clone()
            by_text = states if is_batch_first else states.transpose(0, 1)
            by_text[:, places] = own.to(states)
            return states, *given[1:]

        stack.callback(layer.register_forward_pre_hook(insert).remove)

    with ExitStack() as stack:
        for layer, own in zip(layers[1:], tokens, strict=False):
            put(layer, own)
        yield


@contextmanager
def recorded_spreads(tower: Model) -> Iterator[list[float]]:
    """Within, the spread of each layer's output is appended to the list, see :func:`spread`."""
    found: list[float] = []
    with ExitStack() as stack:
        for layer in layers_of(tower):
            hook = layer.register_forward_hook(lambda _, __, states: found.append(spread(states)))
            stack.callback(hook.remove)
        yield found


def spread(values: Tensor) -> float:
    """Standard deviation of all numbers, after those beyond 3 of it were clipped, 5 times."""
    values = values.float()
    for _ in range(_CLIPPED):
        deviation, mean = torch.std_mean(values, correction=0)
        values = values.clamp(mean - _OUTLIER * deviation, mean + _OUTLIER * deviation)
    return float(values.std(correction=0))
