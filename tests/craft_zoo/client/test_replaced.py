"""A server that was restarted with another model is detected before the next query."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from craft_zoo.client import RemoteVLM
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP

NAMES = ["cat", "dog"]
SENTENCE = (
    r"^http://\S+ serves another model than the run began with, or answers in another form: start "
    r"a new run, or ask its owner$"
)
Connect = Callable[..., RemoteVLM]


class Other:
    """A model whose classifiers differ in one attribute."""

    def __init__(self, vlm: OpenCLIP, what: str, change: Callable[[Any], Any]) -> None:
        self._vlm, self._what, self._change = vlm, what, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vlm, name)

    def classifier(self, *arguments: Any) -> Any:
        box = copy.copy(self._vlm.classifier(*arguments))
        setattr(box, self._what, self._change(getattr(box, self._what)))
        return box


@pytest.mark.parametrize("forgotten", ["all", "images"])
@pytest.mark.parametrize(
    "about", [{"name": "another"}, {"answers": "log_probabilities"}, {"top_k": 3}]
)
def test_another_name_or_form_of_answers(
    about: Any, forgotten: str, server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:3])
    box.score("{}", images)
    server.about = about
    box.score("{}", images)  # as nothing was forgotten, it is the same server
    if forgotten == "all":
        server.restart()
    else:
        server.sets.clear()
    before = len(server.keys)
    with pytest.raises(CraftZooError, match=SENTENCE):
        box.score("{}", images)
    assert len(server.keys) == before + 1  # the one that was refused
    assert server.predictions == 2 * 3


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("template", lambda template: "an image of a {}."),
        ("initial_context", lambda context: context[:-1]),
        ("initial_context", lambda context: np.nextafter(context, np.float32(1))),
    ],
)
def test_other_weights_under_the_same_name(
    what: str, change: Any, server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:3])
    box.initial_context[:] = 0  # whoever has asked for it may do with it as they like
    server.vlm = Other(vlm, what, change)
    server.restart()
    with pytest.raises(CraftZooError, match=SENTENCE):
        box.score("{}", images)
    assert server.predictions == 0


def test_a_model_of_words_is_compared_without_contexts(
    server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task
) -> None:
    server.accepts = ["texts"]
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:3])
    server.restart()
    box.score("{}", images)
    assert server.asked("GET /v1/classifiers") == 0
    server.vlm = Other(vlm, "template", lambda template: "an image of a {}.")
    server.restart()
    with pytest.raises(CraftZooError, match=SENTENCE):
        box.score("{}", images)


def test_it_is_looked_at_only_when_the_server_had_forgotten(
    server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:3])
    server.log.clear()
    for _ in range(3):
        box.score("{}", images)
    assert len(server.log) == 3
    server.in_flight, server.limits = 3, {"contexts": 2}  # no matter of which model it is
    server.restart()
    server.log.clear()
    for _ in range(2):
        box.score("{}", images)
    id = box.id
    assert server.log == [
        f"POST /v1/classifiers/{id}/scores?images={images.ids.pop()}",
        "GET /v1/model",
        "POST /v1/classifiers",
        f"GET /v1/classifiers/{id}/initial-context",
        "POST /v1/image-sets",
        *(line for line in server.log if line.startswith("PUT")),
        *[server.log[0]] * 2,
    ]
