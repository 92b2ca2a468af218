"""Model card of an adapter: one HTML page with what it is, what it cost and how good it is."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import is_address
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.templates import fill
from craft_zoo.blackbox.usage import amount
from craft_zoo.counts import counted
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.evaluation import Evaluation
from craft_zoo.files import write_atomically, writing
from craft_zoo.hub import SCHEME
from craft_zoo.metrics import interval, percent, reliability
from craft_zoo.pages.render import render
from craft_zoo.printable import printable

_MISTAKES = 12  # thumbnails
_THUMBNAIL, _QUALITY = 160, 70  # longest side in pixels, and of the JPEG
_MATRIX_CLASSES = 30  # maximum for which the confusion matrix is shown
_PROMPTS = 20  # classes whose prompts are shown
_POINTS = 200  # of the curve
_APART = 0.15  # least distance of ticks on the axis of queries, as a share of it
_NAMED = 100  # classes on the hub's card
_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)


class Mistake(NamedTuple):
    """An image that is classified wrongly.

    Attributes:
        source: address of its thumbnail, a JPEG in base64.
        name: its path, or its number.
        label: its class.
        predicted: the class that it is taken for.
        probability: of the predicted class.
    """

    source: str
    name: str
    label: str
    predicted: str
    probability: float


def write_card(
    path: str | Path,
    adapter: Adapter,
    vlm: VLM,
    found: Evaluation,
    images: Sequence[ImageSource],
    *,
    file: str | Path,
    dataset: str,
    note: str = "",
) -> None:
    """Write an adapter's model card, a self-contained HTML page.

    Args:
        path: the page.
        adapter: the adapter.
        vlm: its model, which is not queried.
        found: its evaluation.
        images: the N images of the evaluation.
        file: the adapter's file, for the examples of use.
        dataset: name of the data set of the evaluation.
        note: about the data and their licence; shown in paragraphs.

    Raises:
        CraftZooError: the page cannot be written, or an image cannot be read.
    """
    page = render(
        "craft_zoo.pages",
        "card.html",
        _content(adapter, vlm, found, images)
        | {
            "title": printable(Path(file).name),
            "file": Path(file).name,
            "model": adapter.model,
            "dataset": dataset,
            "note": _paragraphs(note),
        },
        {"printable": printable, "percent": percent, "quoted": repr},
    )
    with writing(path, "choose another path (--card)"):
        write_atomically(Path(path), page)


def readme(adapter: Adapter, repository: str, note: str = "") -> str:
    """The model card of an adapter on the Hugging Face hub, in Markdown.

    Args:
        adapter: the adapter.
        repository: ``user/name``.
        note: about the data and their licence; shown in paragraphs.
    """
    content = {
        "repository": repository,
        "address": f"{SCHEME}{repository}",
        "model": adapter.model,
        "remote": is_address(adapter.model),
        "classnames": adapter.classnames,
        "shown": _NAMED,
        "facts": _facts(adapter),
        "canaries": len(adapter.canaries or ()),
        "note": _paragraphs(printable(note)),
    }
    return render(
        "craft_zoo.pages",
        "readme.md",
        content,
        {"code": _code, "quoted": repr, "shell": shlex.quote},
    )


def _code(text: str) -> str:
    return f"`{printable(text).replace('`', chr(39))}`"


def _paragraphs(text: str) -> list[str]:
    return [" ".join(each.split()) for each in text.split("\n\n") if each.strip()]


def _content(
    adapter: Adapter, vlm: VLM, found: Evaluation, images: Sequence[ImageSource]
) -> dict[str, Any]:
    """The variables of the page's template that follow from adapter and evaluation."""
    zero_shot = replace(found, logits=found.zero_shot, temperature=1.0)
    content = adapter.to_bytes()
    return {
        "size": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
        "facts": _facts(adapter),
        "search": _search(adapter),
        "found": found,
        "zero_shot": zero_shot,
        "classes": [(each, interval(each.correct, each.images)) for each in found.classes],
        "confusion": _confusion(found),
        "confusions": _confusions(found),
        "bins": _bins(found),
        "uncalibrated": replace(found, temperature=1.0).calibration_error,
        "risks": _risks(found),
        "zero_shot_risks": _risks(zero_shot),
        "abstaining": [found.abstain(coverage) for coverage in _COVERAGES],
        "mistakes": _mistakes(found, images),
        "prompts": _prompts(adapter, vlm),
        "n_prompts": _PROMPTS,
    }


def _facts(adapter: Adapter) -> dict[str, str]:
    """Facts about the adapter, by name."""
    solution, tuned = adapter.solution, adapter.tuned
    facts = {"model": adapter.model, "classes": f"{len(adapter.classnames):,}"}
    if tuned is not None:
        facts |= {
            "method": tuned.method,
            "optimizer": tuned.optimizer or "none",
            "tuned on": f"{counted(tuned.images, 'image')} of {tuned.dataset}, seed {tuned.seed}",
            "tuning cost": f"{counted(tuned.queries, 'query')}, "
            f"{counted(tuned.predictions, 'prediction')}"
            + ("" if tuned.cost is None else f", a price of {amount(tuned.cost)}"),
        }
    return facts | {
        "an image costs": counted(solution.billed_predictions, "prediction"),
        "parts": repr(solution).strip("<>").partition(": ")[2],
        "temperature": f"{adapter.temperature:.2f}",
    }


def _search(adapter: Adapter) -> dict[str, Any] | None:
    """The search's curve, with places on a logarithmic axis of queries; None: there is none."""
    if adapter.tuned is None or adapter.tuned.curve is None:
        return None
    curve = adapter.tuned.curve
    first, last = max(1, curve[0][0]), curve[-1][0]
    if first >= last:
        return None

    def place(queries: int) -> float:
        return math.log(max(first, queries) / first) / math.log(last / first)

    powers = (10**exponent for exponent in range(16))
    inner = [queries for queries in powers if _APART < place(queries) < 1 - _APART]
    return {
        "images": adapter.tuned.images,
        "points": [(place(queries), accuracy) for queries, accuracy in curve],
        "ticks": [(place(queries), f"{queries:,}") for queries in (first, *inner, last)],
    }


def _confusion(found: Evaluation) -> list[tuple[str, list[tuple[int, float]]]] | None:
    """For each class its row: number and share of its images for each predicted class."""
    if len(found.classnames) > _MATRIX_CLASSES:
        return None
    counts = found.confusion
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    rows = (
        list(zip(*row, strict=True)) for row in zip(counts.tolist(), shares.tolist(), strict=True)
    )
    return list(zip(found.classnames, rows, strict=True))


def _confusions(found: Evaluation) -> list[tuple[int, str, str]]:
    """Number, class and predicted class of the most frequent confusions."""
    wrong, names = found.confusion, found.classnames
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PROMPTS]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [(int(wrong[a, b]), names[a], names[b]) for a, b in pairs if wrong[a, b]]


def _bins(found: Evaluation) -> list[dict[str, float]]:
    """Bins of the reliability diagram that have images."""
    given = found.answered
    counts, confidence, correct = reliability(found.probabilities[given], found.labels[given])
    return [
        {"place": place, "of": len(counts), "images": int(n), "confidence": c, "accuracy": a}
        for place, (n, c, a) in enumerate(zip(counts, confidence, correct, strict=True))
        if n
    ]


def _risks(found: Evaluation) -> list[tuple[float, float]]:
    """Points of the curve of the share of mistakes against coverage."""
    count = len(found)
    kept = np.unique(np.linspace(1, count, min(count, _POINTS)).round().astype(int))
    accuracy = found.accuracy_of_surest
    return [(k / count, 1 - float(accuracy[k - 1])) for k in kept.tolist()]


def _mistakes(found: Evaluation, images: Sequence[ImageSource]) -> list[Mistake]:
    """The wrong predictions with the largest probabilities."""
    probabilities, names = found.probabilities, found.classnames
    mistakes = []
    for place in found.mistakes[:_MISTAKES].tolist():
        source, predicted = images[place], int(found.predicted[place])
        name = Path(source).name if isinstance(source, str | Path) else str(place)
        mistakes.append(
            Mistake(
                _thumbnail(source),
                name,
                names[found.labels[place]],
                names[predicted],
                float(probabilities[place, predicted]),
            )
        )
    return mistakes


def _thumbnail(source: ImageSource) -> str:
    image, content = open_image(source), io.BytesIO()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(content, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _prompts(adapter: Adapter, vlm: VLM) -> dict[str, Any]:
    """The prompts in words, or the words that are nearest to a context; by class or for all."""
    prompt, names = adapter.solution.prompt, adapter.classnames[:_PROMPTS]
    if isinstance(prompt, str):
        return {"exact": True, "rows": [("every class", fill(prompt, "…"))]}
    if isinstance(prompt, tuple):
        rows = [(name, fill(each, name)) for name, each in zip(names, prompt, strict=False)]
        return {"exact": True, "rows": rows}
    contexts = prompt[None] if prompt.ndim == 2 else prompt[:_PROMPTS]
    nearest = vlm.nearest_words(contexts.reshape(-1, contexts.shape[-1]))
    if nearest is None:
        return {"exact": False, "rows": []}
    words = [f"{word} ({distance:.2f})" for word, distance in nearest]
    length = contexts.shape[1]
    texts = [" · ".join(words[i : i + length]) for i in range(0, len(words), length)]
    return {
        "exact": False,
        "rows": list(zip(names if prompt.ndim == 3 else ("every class",), texts, strict=True)),
    }
