"""Scoring or classification for one or several requests in one call of the model."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from craft_zoo.blackbox import VLM, Question, ServingVLM
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.server.errors import bad
from craft_zoo.server.uploads import UploadedImage, pieces

CLASSIFIED = 64  # maximum number of images that are encoded between two turns
_CLASSIFIED_PIXELS = 2**25


def ask(vlm: ServingVLM, questions: Sequence[Question]) -> Generator[None, None, list[np.ndarray]]:
    """Logits (P, N, C) float32 of each question, which have one :meth:`ServingVLM.batching_key`.

    Several questions are scored in one call of the model, a single one prompt by prompt: other
    accounts' jobs can run at each ``yield``.

    Raises:
        Refusal: a logit is NaN or infinite, which contexts far from word embeddings can cause.
    """
    alone = len(questions) == 1
    answers = [(yield from _one(questions[0]))] if alone else vlm.answer(questions)
    for question, logits in zip(questions, answers, strict=True):
        expected = len(question.prompts), len(question.images), len(question.box.classnames)
        if logits.shape != expected:
            raise RuntimeError(f"the model answered {logits.shape} instead of {expected}")
        if not np.isfinite(logits).all():
            raise bad("the model's answer is not finite: keep contexts nearer to the initial one")
    return answers


def classify(
    vlm: VLM, adapter: DeployedAdapter, requests: Sequence[Sequence[UploadedImage]]
) -> Generator[None, None, list[np.ndarray]]:
    """Probabilities (N, C) float32 for the N images of each request, by an adapter of the model.

    Other accounts' jobs can run at each ``yield``, between pieces of the images.
    """
    images = [image for own in requests for image in own]
    rows: list[np.ndarray] = []
    for some in pieces(images, CLASSIFIED, _CLASSIFIED_PIXELS):
        if rows:
            yield
        rows.append(adapter.predict(vlm.images(some, keep=False)))
    probabilities = np.concatenate(rows)
    if not np.isfinite(probabilities).all():
        raise RuntimeError("the model's answer is not finite")
    return np.split(probabilities, np.cumsum([len(own) for own in requests])[:-1])


def _one(question: Question) -> Generator[None, None, np.ndarray]:
    prompts, box = len(question.prompts), question.box
    logits = np.empty((prompts, len(question.images), len(box.classnames)), np.float32)
    count = 0
    for count, scores in enumerate(box.logits(question.prompts, question.images), 1):
        logits[count - 1] = scores
        if count < prompts:
            yield
    return logits[:count]
