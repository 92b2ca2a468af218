"""Answers are looked at before anything learns from them or keeps them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from craft_zoo.errors import CraftZooError


def checked(answers: Iterator[np.ndarray], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """The answers as they come, each looked at first.

    Args:
        answers: logits, an array a context.
        shape: (P, N, C): contexts, images and texts that they are to be of.

    Raises:
        CraftZooError: while iterating, an answer has a wrong shape, holds NaN or infinity, or there
            are more or fewer than P.
    """
    count = 0
    for answer in answers:
        if answer.shape != shape[1:]:
            raise CraftZooError(
                f"the model answered with logits of shape {answer.shape} instead of {shape[1:]}: "
                f"check that it knows the images and classes it was opened on"
            )
        if not np.isfinite(answer).all():
            raise CraftZooError(
                "the model answered with NaN or infinite logits: check its weights and precision"
            )
        count += 1
        yield answer
    if count != shape[0]:
        raise CraftZooError(f"the model answered {count} of {shape[0]} contexts: ask its owner")
