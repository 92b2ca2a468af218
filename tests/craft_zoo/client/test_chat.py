"""Chat models as classifiers: letters, log-probabilities of the first token, or labels alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import craft_zoo as cz
from craft_zoo.client.chat import Chat, ChatOptions
from craft_zoo.client.questions import QuestionVLM
from craft_zoo.data import Task

pytest.importorskip("openai")

Start = Callable[[Callable[[dict[str, Any]], Any]], str]
NAMES = ("cat", "dog", "cow")


def completion(*choices: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": len(choices), "total_tokens": 0}
    return {"id": "x", "object": "chat.completion", "choices": list(choices), "usage": usage}


def spoken(text: str, logprobs: dict[str, float] | None = None) -> dict[str, Any]:
    """A chat completion's choice, with the likeliest first tokens or with text alone."""
    said = {"index": 0, "message": {"role": "assistant", "content": text}}
    if logprobs is None:
        return said
    top = [{"token": token, "logprob": float(np.log(p))} for token, p in logprobs.items()]
    return said | {"logprobs": {"content": [{"token": text, "logprob": 0, "top_logprobs": top}]}}


def probabilities(url: str, task: Task, **options: Any) -> np.ndarray:
    vlm = QuestionVLM(Chat("m", url, key="", options=ChatOptions(**options)))
    return np.exp(vlm.classifier(NAMES).score("a tiny {}.", vlm.images(task.train.images[:1])))


def test_a_question_lists_its_options_by_letters(json_server: Start, small_task: Task) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return completion(spoken("B", {"B": 0.5, " b": 0.1, "C": 0.2, "The": 0.15, "(A": 0.05}))

    [row] = probabilities(json_server(answer), small_task)
    np.testing.assert_allclose(row, np.array([0.05, 0.6, 0.2]) / 0.85, atol=1e-6)
    [body] = bodies
    assert body["messages"][0]["content"][1]["text"] == (
        "Which of these does the image show?\n"
        "A. cat: a tiny cat.\nB. dog: a tiny dog.\nC. cow: a tiny cow.\n"
        "Answer with the letter of the option that fits best (A to C). "
        "Write nothing but the letter."
    )
    assert (body["max_tokens"], body["top_logprobs"], body["temperature"]) == (1, 20, 0)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        *(("B", 1), ("b)", 1), (" C.", 2), ("cow", 2), ("Dog.", 1), ("A. cat", 0), ("A\n", 0)),
        *(("B dog", 1), ("A dog.", 1), ("a cow", 2), ("A: it is a cat", 0)),
    ],
)
def test_a_label_alone_counts_as_certain(
    json_server: Start, small_task: Task, said: str, place: int
) -> None:
    [row] = probabilities(json_server(lambda _: completion(spoken(said))), small_task)
    assert row.argmax() == place
    assert row[place] == pytest.approx(1)
    assert row.sum() < 1.01


def test_repeated_labels_are_counted(json_server: Start, small_task: Task) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert (body["n"], body["temperature"]) == (4, 1)
        return completion(*map(spoken, ("A", "A", "I cannot say", "C")))

    [row] = probabilities(json_server(answer), small_task, repeats=4)
    np.testing.assert_allclose(row[[0, 2]], [2 / 3, 1 / 3], atol=1e-6)


@pytest.mark.parametrize("said", ["Sorry.", "I cannot say.", "A strange picture."])
def test_an_answer_without_an_option_is_a_refusal(
    json_server: Start, small_task: Task, said: str
) -> None:
    vlm = QuestionVLM(Chat("m", json_server(lambda _: completion(spoken(said))), key=""))
    box = vlm.classifier([f"thing {number}" for number in range(9)])  # the last is option I
    [row] = box.score("a {}", vlm.images(small_task.train.images[:1]))
    np.testing.assert_array_equal(row, 0)  # no class is preferred


def test_methods_work_and_money_is_counted(
    json_server: Start, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    requests = 0

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal requests
        requests += 1
        image, text = (part for part in body["messages"][0]["content"])
        letters = re.findall(r"^([A-Z])\. ", text["text"], flags=re.MULTILINE)
        seed = hashlib.sha256((image["image_url"]["url"] + text["text"]).encode()).digest()
        p = np.random.default_rng(seed[0]).dirichlet(np.ones(len(letters)))
        return completion(spoken("A", dict(zip(letters, p, strict=True))))

    vlm = cz.load_vlm(f"chat:m@{json_server(answer)}", options={"permutations": 2})
    for method, queries in (("zero-shot", 0), ("refine", 1), ("craft-hard", 5)):
        before = vlm.billed
        tuned = cz.tune(vlm, small_task, method=method, budget=5)
        assert tuned.meter.queries == queries
        assert (vlm.billed - before).requests == queries * 2 * len(small_task.train)
    assert vlm.billed.input_tokens == 100 * requests
