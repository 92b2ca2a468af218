"""Prompts that are scored on images, several requests' together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.blackbox import BlackBox, ImageSet, Prompts
from craft_zoo.serve.refusal import bad


def ask(box: BlackBox, images: ImageSet, questions: Sequence[Prompts]) -> list[np.ndarray]:
    """Score the prompts of several questions in one call.

    Args:
        box: the model opened on C class names.
        images: N images.
        questions: P prompts each, of one form.

    Returns:
        Logits (P, N, C) float32 of each question.

    Raises:
        Refusal: an answer holds NaN or infinity, which prompts far from words may lead to.
    """
    first = questions[0]
    if len(questions) == 1:
        prompts = first
    elif isinstance(first, np.ndarray):
        prompts = np.concatenate([np.asarray(each) for each in questions])
    else:
        prompts = [prompt for question in questions for prompt in question]
    logits = np.stack(list(box.logits(prompts, images))).astype(np.float32, copy=False)
    expected = len(prompts), len(images), len(box.classnames)
    if logits.shape != expected:
        raise RuntimeError(f"the model answered {logits.shape} instead of {expected}")
    if not np.isfinite(logits).all():
        raise bad("the model's answer is not finite: keep contexts nearer to the initial one")
    ends = np.cumsum([len(question) for question in questions])[:-1]
    return np.split(logits, ends)
