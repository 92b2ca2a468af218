"""Endpoints of Hugging Face's task API."""

from __future__ import annotations

import base64
import io
import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from craft_zoo import tune
from craft_zoo.blackbox import fill, load_vlm
from craft_zoo.client import HuggingFaceVLM, Retrying
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP

NAMES = ["cat", "dog", "blue whale"]
URL = "https://endpoint.example/clip"


class Endpoint:
    """craft-mini behind the task API.

    Attributes:
        requests: bodies of requests.
        first: responses that precede the correct ones.
        alter: changes correct responses before they are sent.
        hook: may return or raise another response to the request of a given number.
    """

    def __init__(self, vlm: OpenCLIP) -> None:
        self.vlm = vlm
        self.requests: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self.first: list[httpx.Response] = []
        self.alter: Callable[[list[Any]], Any] = lambda answer: answer
        self.hook: Callable[[int], httpx.Response | None] = lambda number: None
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
            number = len(self.headers)
            if self.first:
                return self.first.pop(0)
        hooked = self.hook(number)  # may block, so that others go on
        if hooked is not None:
            return hooked
        with self._lock:
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
    assert model.cost_limit.predictions == 4
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
    with pytest.raises(CraftZooError, match=r"hf-api:https://e.* did not answer .*currently"):
        box.score("{}", images)
    endpoint.first = [
        httpx.Response(503, json={"error": "x", "estimated_time": None}),
        httpx.Response(503, text='{"error": "x", "estimated_time": NaN}'),
        httpx.Response(503, text="[" * 10**5),
    ]
    box.score("{}", images)
    endpoint.first = [httpx.Response(503, text='{"error": "x", "estimated_time": 1e999}')]
    with pytest.raises(CraftZooError, match="asks to wait 1000000000 s"):
        box.score("{}", images)


def test_a_failure_of_the_model_may_pass(
    endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model, broken = connect(), httpx.Response(500, json={"error": "CUDA error"})
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    endpoint.first = [broken, broken]
    box.score("{}", images)
    endpoint.first = [broken] * 10
    with pytest.raises(CraftZooError, match=r"no usable answer \(CUDA error; 3 attempts"):
        box.score("{}", images)
    assert len(endpoint.first) == 7
    assert model.cost_limit.predictions == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(200, text="<html>"), "its answer is not JSON"),
        (httpx.Response(200, text="[" * 10**5), "its answer is not JSON"),
        (httpx.Response(200, text="null"), "its answer is not JSON"),
        (httpx.Response(200, content=bytes(2**21)), "it sends more than the 1,051,576 bytes"),
    ],
)
def test_an_answer_that_is_of_no_use_is_asked_for_and_paid_once_more(
    answer: httpx.Response, reason: str, endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model = connect()
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    endpoint.first = [answer]
    assert box.score("{}", images).shape == (1, 3)
    assert model.cost_limit.predictions == 2
    endpoint.first = [answer] * 60
    with pytest.raises(CraftZooError, match=rf"usable answer \({reason}.*; 2 attempts\): check"):
        box.score("{}", images)
    assert len(endpoint.first) == 58
    assert model.cost_limit.predictions == 4


def test_what_may_have_been_billed_is_not_sent_again_beyond_the_limit(
    endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    failures: list[Exception] = []

    def hook(_: int) -> None:
        if failures:
            raise failures.pop(0)

    endpoint.hook = hook
    model = connect(max_predictions=5)
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    slow, refused = httpx.ReadTimeout("slow"), httpx.ConnectError("Connection refused")
    failures += [refused, slow, refused, slow]
    endpoint.first = [httpx.Response(429), httpx.Response(503), httpx.Response(504)]
    assert box.score("{}", images).shape == (1, 3)
    assert model.cost_limit.predictions == 4  # 504 and both that were slow
    failures += [slow, slow]
    sentence = (
        r"1 more prediction would exceed the limit of 5 \(5 made\): raise max_predictions "
        r"\(--max-predictions\)"
    )
    with pytest.raises(CraftZooError, match=sentence):
        box.score("{}", images)
    assert len(failures) == 1


class Waiting:
    """Makes an endpoint answer 503 with Retry-After 300, and 400 to the request ``refused``."""

    def __init__(self, endpoint: Endpoint, refused: int = 0) -> None:
        self.endpoint, self.refused, self.asked = endpoint, refused, threading.Semaphore(0)
        endpoint.hook = self

    def __call__(self, number: int) -> httpx.Response:
        if number == self.refused:
            for _ in range(3):
                self.asked.acquire()
            return httpx.Response(400, json={"error": "no image"})
        self.asked.release()
        return httpx.Response(503, headers={"Retry-After": "300"})

    def threads(self) -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "craft-zoo"]


@pytest.fixture
def patient(endpoint: Endpoint) -> HuggingFaceVLM:
    """A client that retries with real waits and has four requests in flight."""
    return HuggingFaceVLM(URL, concurrency=4, transport=httpx.MockTransport(endpoint))


def test_a_refusal_waits_for_no_other_request(
    endpoint: Endpoint, patient: HuggingFaceVLM, small_task: Task
) -> None:
    waiting = Waiting(endpoint, refused=3)
    before = set(waiting.threads())
    box, images = patient.classifier(NAMES), patient.images(small_task.train.images[:12])
    began = time.monotonic()
    with pytest.raises(CraftZooError, match=r"rejected the request \(no image\)"):
        box.score("{}", images)
    assert time.monotonic() - began < 20
    assert len(endpoint.headers) == 4
    for thread in set(waiting.threads()) - before:
        thread.join(20)
        assert not thread.is_alive()
    assert patient.cost_limit.predictions == 0  # nothing was answered


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_waits_for_no_request(
    endpoint: Endpoint, patient: HuggingFaceVLM, small_task: Task
) -> None:
    waiting, main = Waiting(endpoint), threading.main_thread().ident
    before = set(waiting.threads())
    box, images = patient.classifier(NAMES), patient.images(small_task.train.images[:12])

    def interrupt() -> None:
        for _ in range(4):
            waiting.asked.acquire()
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        box.score("{}", images)
    assert time.monotonic() - began < 20
    for thread in set(waiting.threads()) - before:
        assert thread.daemon
        thread.join(20)
        assert not thread.is_alive()
    assert len(endpoint.headers) == 4


def test_questions_have_names(endpoint: Endpoint, connect: Connect, small_task: Task) -> None:
    """The same in another process, and no two the same in one."""

    def even(body: dict[str, Any]) -> list[Any]:
        return [{"label": one, "score": 0.3} for one in body["parameters"]["candidate_labels"]]

    endpoint.answer = even  # type: ignore[method-assign]

    def asked(*names: str | None, session: str | None = None) -> list[set[str]]:
        model, keys = connect(session=session), []
        box, images = model.classifier(NAMES), model.images(small_task.train.images[:3])
        for name in names:
            if name is not None:
                model.next_question(name)
            endpoint.headers.clear()
            list(box.logits(["{}", ("a {}", "{}", "the {}")], images))
            keys.append({headers["idempotency-key"] for headers in endpoint.headers})
        return keys

    first = asked("a", "b", None, None)
    assert [len(keys) for keys in first] == [6] * 4
    assert len(set.union(*first)) == 24
    again = asked("b", None, "a")
    assert (again[0], again[2]) == (first[1], first[0])
    assert not again[1] & set.union(*first)  # each session has its own
    assert asked(None, None, session="mine") == asked(None, None, session="mine")
    assert connect(concurrency=5).images_in_flight == 20


def test_a_name_is_of_the_thread_that_asks(
    endpoint: Endpoint, connect: Connect, small_task: Task
) -> None:
    model = connect()
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    keys = []
    for there in (False, True):
        model.next_question("a")
        if there:
            thread = threading.Thread(target=box.score, args=("{}", images))
            thread.start()
            thread.join()
        box.score("{}", images)
        keys += [headers["idempotency-key"] for headers in endpoint.headers]
        endpoint.headers.clear()
    named, unnamed, named_again = keys
    assert named == named_again != unnamed


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (httpx.Response(401, json={"error": "Invalid token"}), r"\(Invalid token\): set HF_TOKEN"),
        (httpx.Response(402, json={"error": "Pay"}), r"no quota left for this key \(Pay\): raise"),
        (httpx.Response(400, json={"error": ["a", "b"]}), r"\(a; b\): check the endpoint"),
        (httpx.Response(404, text="Not Found"), r"\(HTTP 404\): check the endpoint"),
        (httpx.Response(200, json={"error": "?"}), "is not a list"),
        (httpx.Response(200, json=[0.5]), "is not a list"),
        (httpx.Response(200, json=[{"label": "cat", "score": "high"}]), "is not a list"),
        (httpx.Response(200, text='[{"label": "cat", "score": NaN}]'), "not a probability"),
        (httpx.Response(200, json=[{"label": "cat", "score": 10**400}]), "is not a list"),
        (httpx.Response(400, text="[" * 10**5), r"\(HTTP 400\): check the endpoint"),
        (httpx.Response(400, json={"error": {"message": "too\nlarge"}}), r"\(too large\)"),
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
        (lambda answer: [*answer, {"label": "cow", "score": 0}], "'cow', which was not requested"),
        (lambda answer: [{**each, "score": 20} for each in answer], "20 for .*not a probability"),
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
    with pytest.raises(CraftZooError, match=r"limit of 5 \(5 made\)"):
        box.score("{}", images)
    assert len(endpoint.requests) == 5


def test_what_it_cannot_be_asked(
    connect: Connect, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = connect()
    box, images = model.classifier(NAMES), model.images(small_task.train.images[:1])
    with pytest.raises(CraftZooError, match="class name 'cat' occurs twice"):
        model.classifier(["cat", "dog", "cat"])
    with pytest.raises(CraftZooError, match="takes words only"):
        box.score(np.zeros((4, 8), np.float32), images)
    with pytest.raises(CraftZooError, match="and two are equal"):
        box.score(("a pet", "a pet", "{}"), images)
    with pytest.raises(CraftZooError, match="belong to another model"):
        box.score("{}", connect().images(small_task.train.images[:1]))
    with pytest.raises(CraftZooError, match=r"image nowhere\.png does not exist"):
        model.images(["nowhere.png"])
    with pytest.raises(CraftZooError, match="at least 1"):
        connect(concurrency=0)
    for token in ("hf_clé", "hf_cl\ne"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(CraftZooError, match="check HF_TOKEN") as caught:
            connect()
        assert "hf_" not in str(caught.value)


def test_opened_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    model = load_vlm(f"hf-api:{URL}", price=0.001, max_cost=1.0)
    assert isinstance(model, HuggingFaceVLM)
    assert model.name == f"hf-api:{URL}"
    assert model.bills
    with pytest.raises(CraftZooError, match="is not the URL of a server"):
        load_vlm("hf-api:clip")


def test_methods_that_ask_in_words_work(connect: Connect, small_task: Task) -> None:
    model = connect()
    tuned = tune(model, small_task, method="refine", budget=2, config=CraftConfig())
    assert tuned.adapter.predict(model, small_task.test.images[:2]).shape == (2, 10)
