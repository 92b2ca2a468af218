"""Parsing and validation of prompts and class names."""

from __future__ import annotations

import numpy as np

from craft_zoo.blackbox import BlackBox
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, decode_array
from craft_zoo.server.admission import Reservation
from craft_zoo.server.bodies import parse
from craft_zoo.server.errors import Refusal, bad
from craft_zoo.server.limits import Limits
from craft_zoo.server.schemas import Templates


def read_contexts(
    body: bytes, box: BlackBox, limits: Limits, reservation: Reservation
) -> np.ndarray:
    """Parse contexts in a ``.npy`` file: (P, n_ctx, dim) or (P, C, n_ctx, dim) float32, finite.

    Raises:
        Refusal: the array is malformed, has another shape or is not finite, or P is out of range.
    """
    if "contexts" not in box.accepts:
        raise bad("the model takes words only, no contexts: send templates", 400)
    reservation.add(len(body))  # the array
    try:
        contexts = decode_array(body)
    except CraftZooError as error:
        raise bad(str(error), 400) from None
    own = len(box.classnames), *box.initial_context.shape
    if contexts.shape[1:] not in (own, own[1:]):
        raise bad(
            f"contexts of shape {contexts.shape} do not fit the model: send (P, {own[1]}, "
            f"{own[2]}) or, for a context for each class, (P, {own[0]}, {own[1]}, {own[2]})"
        )
    _check_number(len(contexts), limits)
    if not np.isfinite(contexts).all():
        raise bad("a context holds NaN or infinity: send finite numbers")
    return contexts


def read_templates(
    body: bytes, box: BlackBox, limits: Limits, reservation: Reservation
) -> list[str | tuple[str, ...]]:
    """Parse P templates or lists of C templates of a JSON body; the lists become tuples.

    Raises:
        Refusal: the model accepts no templates, or their number, length or form is wrong.
    """
    values = limits.contexts * (len(box.classnames) + 2)
    templates = parse(Templates, body, reservation, values=values).templates
    if "texts" not in box.accepts:
        raise bad("the model takes contexts only, no words: send contexts", 400)
    _check_number(len(templates), limits)
    for each in templates:
        if not isinstance(each, str) and len(each) != len(box.classnames):
            raise bad(
                f"{len(each)} templates came for {len(box.classnames)} classes: send one for each"
            )
        for template in [each] if isinstance(each, str) else each:
            check_template(template, limits)
    return [each if isinstance(each, str) else tuple(each) for each in templates]


def check_template(template: str, limits: Limits) -> None:
    """Check that a template has exactly one placeholder ``{}`` and is not too long.

    Raises:
        Refusal: it is invalid.
    """
    _check_length("template", template, limits.template_length)
    if template.count("{}") != 1:
        raise bad(
            f"the template {template!r} must hold {{}} once, where the class name stands: put it in"
        )


def check_names(classnames: list[str], init: str, limits: Limits, top_k: int | None = None) -> None:
    """Check the number and length of class names and the length of the initial prompt. With
    ``top_k``, there must be more than ``top_k`` classes.

    Raises:
        Refusal: a check fails.
    """
    if top_k is not None and len(classnames) <= top_k:
        raise bad(
            f"the server scores only the best {top_k} classes, and {len(classnames)} came: send at "
            f"least {top_k + 1}"
        )
    if len(classnames) > limits.classes:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"{len(classnames):,} classes are too many: send at most {limits.classes:,}",
        )
    for name in classnames:
        _check_length("class name", name, limits.name_length)
    _check_length("template", init, limits.template_length)


def _check_length(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the {what} {text[:20]!r}… has more than {most} characters: shorten it",
        )


def _check_number(prompts: int, limits: Limits) -> None:
    if prompts < 1:
        raise bad("there is no prompt to score: send at least one")
    if prompts > limits.contexts:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"{prompts:,} prompts are too many for a request: send at most {limits.contexts:,}",
        )
