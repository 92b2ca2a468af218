"""Endpoints of Hugging Face's task API."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from craft_zoo import tune
from craft_zoo.blackbox import HuggingFaceVLM, OpenCLIP, fill, load_vlm
from craft_zoo.blackbox.remote import Retrying
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError

NAMES = ["cat", "dog", "blue whale"]
URL = "https://endpoint.example/clip"


class Endpoint:
    """craft-mini behind the task API.

    Attributes:
        requests: bodies that came.
        first: answers that are given before right ones.
        alter: makes what is sent of what is right.
    """

    def __init__(self, vlm: OpenCLIP) -> None:
        self.vlm = vlm
        self.requests: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self.first: list[httpx.Response] = []
        self.alter: Callable[[list[Any]], Any] = lambda answer: answer
        self.pause = 0.0
        self.under_way = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        time.sleep(self.pause)
        with self._lock:
            self.under_way -= 1
            assert str(request.url) == URL
            assert request.method == "POST"
            self.headers.append(request.headers)
            if self.first:
                return self.first.pop(0)
            body = json.loads(request.content)
            self.requests.append(body)
            return httpx.Response(200, json=self.alter(self.answer(body)))

    def answer(self, body: dict[str, Any]) -> list[Any]:
        image = Image.open(io.BytesIO(base64.b64decode(body["inputs"], validate=True)))
        labels = body["parameters"]["candidate_labels"]
        prompts = [fill(body["parameters"]["hypothesis_template"], label) for label in labels]
        logits = self.vlm.classifier(prompts).score("{}", self.vlm.images([image], keep=False))[0]
        powers = np.exp(logits - logits.max())
        scored = zip(labels, powers / powers.sum(), strict=True)
        best_first = sorted(scored, key=lambda pair: -pair[1])
        return [{"label": label, "score": float(score)} for label, score in best_first]


@pytest.fixture
def endpoint(vlm: OpenCLIP) -> Endpoint:
    return Endpoint(vlm)


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def connect(endpoint: Endpoint, slept: list[float]) -> Callable[..., HuggingFaceVLM]:
    def open_endpoint(**settings: Any) -> HuggingFaceVLM:
        retrying = Retrying(sleep=slept.append, clock=lambda: sum(slept), draw=lambda: 0.5)
        transport = httpx.MockTransport(endpoint)
        return HuggingFaceVLM(
            f"hf-api:{URL}/", **{"retrying": retrying, "transport": transport, **settings}
        )

    return open_endpoint


Connect = Callable[..., HuggingFaceVLM]


def test_labels_become_columns_and_scores_logits(
    endpoint: Endpoint, connect: Connect, vlm: OpenCLIP, small_task: Task
) -> None:
    model = connect(token="mine")
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:4])
    assert model.name == f"hf-api:{URL}"
    assert box.accepts == {"texts"}
    assert box.initial_context.shape == (0, 0)
    templates = ["a photo of a {}.", "{}", ("{}", "a {}", "the {}")]
    answers = list(box.logits(templates, images))
    assert endpoint.requests[0]["parameters"] == {
        "candidate_labels": NAMES,
        "hypothesis_template": "a photo of a {}.",
    }
    assert endpoint.requests[-1]["parameters"]["candidate_labels"] == [
        "cat",
        "a dog",
        "the blue whale",
    ]
    assert {headers["authorization"] for headers in endpoint.headers} == {"Bearer mine"}
    handed = vlm.images(small_task.train.images[:4])
    expected = np.stack(list(vlm.classifier(NAMES).logits(templates, handed)))
    expected -= np.log(np.exp(expected).sum(-1, keepdims=True))
    np.testing.assert_allclose(np.stack(answers), expected, atol=1e-3)
    assert answers[0].dtype == np.float32


def test_what_is_the_same_is_asked_once_a_call(
    endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model = connect()
    one, other = small_task.train.images[:2]
    box, images = model.classifier(NAMES), model.images([one, other, one])
    first, second, third = box.logits(["{}", "a {}", "{}"], images)
    assert len(endpoint.requests) == 2 * 2
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first[0], first[2])
    assert not np.array_equal(first, second)
    assert model.spending.predictions == 4
    np.testing.assert_array_equal(box.score("{}", images), first)
    assert len(endpoint.requests) == 6


@pytest.mark.parametrize("concurrency", [1, 3])
def test_requests_under_way_are_limited(
    concurrency: int, endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    endpoint.pause = 0.02
    model = connect(concurrency=concurrency)
    box = model.classifier(NAMES)
    together = box.score("{}", model.images(small_task.train.images[:8]))
    assert endpoint.most == concurrency
    alone = [box.score("{}", model.images([image])) for image in small_task.train.images[:8]]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_model_that_loads_is_waited_for(
    endpoint: Endpoint, connect: Connect, small_task: Task, slept: list[float]
) -> None:
    loading = {"error": "Model clip is currently loading", "estimated_time": 20.0}
    model = connect()
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    endpoint.first = [
        httpx.Response(503, json=loading),
        httpx.Response(429, headers={"Retry-After": "7"}, text="slowly"),
        httpx.Response(524, text="<html>"),
        httpx.Response(200, text="cut o"),
    ]
    assert np.isfinite(box.score("{}", images)).all()
    assert slept == [20.25, 7.5, 1.0, 2.0]
    names = [headers["idempotency-key"] for headers in endpoint.headers]
    assert len(names) == 5
    assert len(set(names)) == 1  # it is one question
    box.score("{}", images)
    assert endpoint.headers[-1]["idempotency-key"] != names[0]
    endpoint.first = [httpx.Response(503, json={**loading, "estimated_time": 1e5})]
    with pytest.raises(CraftZooError, match=r"endpoint https://e.* did not answer .*currently"):
        box.score("{}", images)
    endpoint.first = [httpx.Response(503, json={"error": "x", "estimated_time": None})]
    box.score("{}", images)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (httpx.Response(401, json={"error": "Invalid token"}), r"\(Invalid token\): set HF_TOKEN"),
        (httpx.Response(400, json={"error": ["a", "b"]}), r"\(a; b\): check the endpoint"),
        (httpx.Response(404, text="Not Found"), r"\(HTTP 404\): check the endpoint"),
        (httpx.Response(200, json={"error": "?"}), "is no list of labels"),
        (httpx.Response(200, json=[0.5]), "is no list of labels"),
        (httpx.Response(200, json=[{"label": "cat", "score": "high"}]), "is no list of labels"),
        (httpx.Response(200, text="null"), "is no list of labels"),
        (httpx.Response(200, text='[{"label": "cat", "score": NaN}]'), "is no probability"),
    ],
)
def test_what_cannot_pass_is_asked_once(
    answer: httpx.Response, sentence: str, endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model = connect(retrying=Retrying(attempts=1))
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    endpoint.first = [answer]
    with pytest.raises(CraftZooError, match=sentence):
        box.score("{}", images)


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (lambda answer: answer[:-1], "has no label"),
        (lambda answer: [*answer, answer[0]], "has the label .* twice"),
        (lambda answer: [*answer, {"label": "cow", "score": 0}], "'cow', which was not asked"),
        (lambda answer: [{**each, "score": 20} for each in answer], "20 for .*no probability"),
    ],
)
def test_answers_are_looked_at(
    alter: Any, sentence: str, endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model = connect()
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    endpoint.alter = alter
    with pytest.raises(CraftZooError, match=sentence):
        box.score("{}", images)


def test_scores_that_were_rounded_away_stay_finite(
    endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model = connect()
    endpoint.alter = lambda answer: [{**each, "score": 0.0} for each in answer]
    logits = model.classifier(NAMES).score("{}", model.images(small_task.train.images[:1]))
    assert np.isfinite(logits).all()


def test_budgets(endpoint: Endpoint, connect: Connect, small_task: Task) -> None:
    model = connect(max_predictions=5)
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:4])
    box.score("{}", images)
    with pytest.raises(CraftZooError, match=r"limit of 5 \(4 made\)"):
        box.score("{}", images)
    assert len(endpoint.requests) == 4


def test_what_it_cannot_be_asked(
    connect: Connect, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = connect()
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    with pytest.raises(CraftZooError, match="class name 'cat' occurs twice"):
        model.classifier(["cat", "dog", "cat"])
    with pytest.raises(CraftZooError, match="takes words only"):
        box.score(np.zeros((4, 8), np.float32), images)
    with pytest.raises(CraftZooError, match="two classes have the same"):
        box.score(("a pet", "a pet", "{}"), images)
    with pytest.raises(CraftZooError, match="handed to another model"):
        box.score("{}", connect().images(small_task.train.images[:1]))
    with pytest.raises(CraftZooError, match=r"image nowhere\.png does not exist"):
        model.images(["nowhere.png"])
    with pytest.raises(CraftZooError, match="at least 1 request"):
        connect(concurrency=0)
    monkeypatch.setenv("HF_TOKEN", "clé")
    with pytest.raises(CraftZooError, match="check HF_TOKEN"):
        connect()


def test_opened_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    model = load_vlm(f"hf-api:{URL}", price=0.001, max_cost=1.0)
    assert isinstance(model, HuggingFaceVLM)
    assert model.name == f"hf-api:{URL}"
    assert not model.bills
    with pytest.raises(CraftZooError, match="is no URL of a server"):
        load_vlm("hf-api:clip")


def test_methods_that_ask_in_words_work(connect: Connect, small_task: Task) -> None:
    model = connect()
    tuned = tune(model, small_task, method="refine", budget=2, config=CraftConfig())
    assert tuned.adapter.predict(model, small_task.test.images[:2]).shape == (2, 10)
