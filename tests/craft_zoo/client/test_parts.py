"""Image sets that exceed a server's limits are sent in parts."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.client import Refused, RemoteVLM
from craft_zoo.client.idempotency import QuestionKeys
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import ErrorCode

NAMES = ["cat", "dog", "blue whale"]
Connect = Callable[..., RemoteVLM]


def some_prompts(box: Any) -> list[Any]:
    """Contexts shared and by class, and templates shared and by class."""
    start = box.initial_context
    rng = np.random.default_rng(1)
    noise = 0.01 * rng.standard_normal((5, len(NAMES), *start.shape))
    contexts = (start + noise).astype(np.float32)
    return [contexts[:, 0], contexts[:2], ["{}", "a photo of a {}."], [("{}", "a {}", "the {}")]]


def check_answers(answers: list[np.ndarray], expected: list[np.ndarray]) -> None:
    # Of a matrix with other rows, BLAS may round the last bit otherwise.
    np.testing.assert_allclose(answers, expected, rtol=1e-6, atol=1e-5)


def test_the_answers_are_those_of_the_local_model(
    server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task
) -> None:
    sources = small_task.train.images
    server.limits = {"images": 7}
    server.in_flight = 2
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(sources)
    assert len(images) == 20
    assert len(images.ids) == 3
    local, handed = vlm.classifier(NAMES), vlm.images(sources)
    for prompts in some_prompts(local):
        answers = list(box.logits(prompts, images))
        server.restart()
        check_answers(answers, list(local.logits(prompts, handed)))
    assert server.predictions == remote.cost_limit.predictions == (5 + 2 + 2 + 1) * 20
    assert len(server.ledger) == (3 + 1 + 1 + 1) * 3


@pytest.mark.parametrize(
    "limits",
    [{"images": 7}, {"contexts": 2}, {"answer_bytes": 100}, {"body_bytes": 20_000}],
    ids=str,
)
def test_a_server_that_comes_back_with_lower_limits_answers_the_same(
    limits: dict[str, int], vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    pytest.importorskip("fastapi")
    module = runpy.run_path(str(Path(__file__).parent / "real_server.py"))
    sources = small_task.train.images
    with module["RealServer"](vlm, tmp_path / "state") as running:
        remote = RemoteVLM(running.url, api_key=running.key)
        box, images = remote.classifier(NAMES), remote.images(sources[:10])
        expected = [list(box.logits(prompts, images)) for prompts in some_prompts(box)]
        running.__exit__()
        settings = running._settings
        running._settings = replace(settings, limits=replace(settings.limits, **limits))
        running.__enter__()
        others = remote.images(sources[10:])  # the server has never seen them
        for prompts, before in zip(some_prompts(box), expected, strict=True):
            check_answers(list(box.logits(prompts, images)), before)
            for answer in box.logits(prompts, others):
                assert answer.shape == (10, len(NAMES))
        assert (
            remote.usage().predictions == remote.cost_limit.predictions == 3 * 10 * (5 + 2 + 2 + 1)
        )


def test_more_parts_than_the_server_keeps(
    server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task
) -> None:
    sources = small_task.train.images
    server.limits = {"images": 7, "image_sets": 1}
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(sources)
    answers = [*box.logits(["{}", "a {}"], images), box.score("the {}", images)]
    local, handed = vlm.classifier(NAMES), vlm.images(sources)
    check_answers(answers, list(local.logits(["{}", "a {}", "the {}"], handed)))
    assert server.predictions == 3 * 20
    assert server.asked("POST /v1/image-sets") == 3 + 6  # once for each question about a part


def test_a_set_that_the_server_takes_is_one_and_keeps_its_name(
    server: Any, connect: Connect, small_task: Task
) -> None:
    server.limits = {"images": 20}
    remote = connect(session="s")
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    (id,) = images.ids
    box.score("{}", images)
    remote.next_question("run/1")
    box.score("{}", images)
    about = json.dumps([box.id, id, "application/json"]) + '\0{"templates": ["{}"]}'
    names = QuestionKeys("s")
    assert server.keys == [names.key(about.encode(), name) for name in (None, "run/1/0")]


def test_only_the_part_that_is_missing_is_handed_over(
    server: Any, connect: Connect, small_task: Task
) -> None:
    server.limits = {"images": 7}
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    expected = box.score("{}", images)
    del server.sets[list(server.sets)[1]]
    server.log.clear()
    np.testing.assert_array_equal(box.score("{}", images), expected)
    assert server.asked("POST /v1/image-sets") == server.asked("PUT") == 1
    restarts = [1]

    def hook(method: str, path: str) -> None:
        if server.asked("POST /v1/classifiers/") == 2 and restarts:
            restarts.pop()
            server.restart()

    server.log.clear()
    server.hook = hook
    np.testing.assert_array_equal(box.score("{}", images), expected)
    assert server.asked("PUT") == 2  # the first part was answered before
    assert server.predictions == 3 * 20


def test_a_killed_question_is_paid_once(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path, mortal: Any
) -> None:
    server.limits = {"images": 7}

    def ask(**settings: Any) -> np.ndarray:
        with Journal(tmp_path / "journal") as journal:
            recorded = ReplayVLM(connect(**settings), journal)
            images = recorded.images(small_task.train.images)
            return recorded.classifier(NAMES).score("{}", images)

    for life in (2, 3):
        with pytest.raises(mortal.Died):
            ask(transport=mortal(life))
        server.restart()
    answer = ask()
    assert server.predictions == 20
    remote = connect()
    images = remote.images(small_task.train.images)
    np.testing.assert_array_equal(remote.classifier(NAMES).score("{}", images), answer)


def test_equal_parts_are_different_questions(
    server: Any, connect: Connect, small_task: Task
) -> None:
    """Whoever is billed for both is to know it."""
    server.limits = {"images": 2}
    for name in (None, "run/1"):
        remote = connect()
        box, images = remote.classifier(NAMES), remote.images([small_task.train.images[0]] * 4)
        assert len(images.ids) == 1
        if name:
            remote.next_question(name)
        scores = box.score("{}", images)
        assert (scores == scores[0]).all()
        assert remote.cost_limit.predictions == 4
    assert server.predictions == 2 * 4


def test_a_limit_of_cost_is_looked_at_before_the_first_part(
    server: Any, connect: Connect, small_task: Task
) -> None:
    server.limits = {"images": 7}
    remote = connect(max_predictions=39)
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    with pytest.raises(CraftZooError, match="40 more predictions would exceed the limit of 39"):
        list(box.logits(["{}", "a {}"], images))
    assert not server.keys


def test_answers_that_are_too_large_come_in_smaller_parts(
    server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task
) -> None:
    sources = small_task.train.images
    server.limits = {"answer_bytes": 4 * 10 * 2}
    remote = connect()
    images, handed = remote.images(sources), vlm.images(sources)
    # 20 images at once, 10, 5, and 20 again: sets that were handed over before are not again.
    for names, sets in ((["one"], 1), (["one", "two"], 1 + 2), (NAMES, 3 + 4), (["two"], 7)):
        box, local = remote.classifier(names), vlm.classifier(names)
        answers = list(box.logits(["{}", "a {}"], images))
        check_answers(answers, list(local.logits(["{}", "a {}"], handed)))
        assert len(images.ids) == server.asked("POST /v1/image-sets") == sets
    server.keys.clear()
    sentence = (
        r"^http://\S+ answers with at most 80 bytes, too few for an image's 21 classes: ask with "
        r"fewer classes, or ask its owner to raise the limit answer_bytes$"
    )
    box = remote.classifier([f"thing {number}" for number in range(21)])
    with pytest.raises(CraftZooError, match=sentence):
        box.score("{}", images)
    assert not server.keys


def test_progress_is_that_of_all(server: Any, connect: Connect, small_task: Task) -> None:
    server.limits = {"images": 8}
    seen: list[tuple[int, int]] = []
    connect().images(small_task.train.images, lambda done, of: seen.append((done, of)))
    assert seen == [(done, 20) for done in (0, 8, 8, 16, 16, 20)]


def test_a_bad_image_of_a_later_part_is_named(
    server: Any, connect: Connect, small_task: Task, fakes: dict[str, Any], tmp_path: Path
) -> None:
    server.limits = {"images": 2}
    remote = connect()
    sources = list(small_task.train.images[:5])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    with pytest.raises(CraftZooError, match=f"image {broken} cannot be read"):
        remote.images([*sources, broken])

    def hook(method: str, path: str) -> None:
        if method == "PUT" and server.asked("PUT") == 3:
            raise fakes["Refusal"](ErrorCode.BAD_IMAGE, "image 0 has too many pixels")

    server.log.clear()
    server.hook = hook
    with pytest.raises(Refused, match=r"^after the first 4 images, image 0 has too many pixels$"):
        connect().images(sources[::-1])
