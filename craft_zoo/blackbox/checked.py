"""Validation of a model's answers, before they are stored or learned from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from craft_zoo.errors import CraftZooError


def checked(answers: Iterator[np.ndarray], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Yield a model's answers after validating each.

    Args:
        answers: logits (N, C) of each context.
        shape: expected (P, N, C): numbers of contexts, images and texts.

    Raises:
        CraftZooError: while iterating, if an answer has a wrong shape or holds NaN or infinity, or
            if there are not exactly P answers.
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
