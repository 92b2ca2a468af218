"""Services of the System One protocol: transformers' own server, and one that fails."""

from __future__ import annotations

import base64
import io
import itertools
import json
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from craft_zoo import tune
from craft_zoo.blackbox import load_vlm
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.files import file_of
from craft_zoo.client.question_service import ImageQuestion
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.client.system_one import SystemOne, SystemOneOptions
from craft_zoo.data import LabelledImages, Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import read_settings
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers.errors import OptimizerError

pytest.importorskip("transformers", "5.24")
from transformers.utils.import_utils import is_serve_available

if not is_serve_available():
    pytest.skip("transformers[serving] is missing", allow_module_level=True)

NAMES = ("cat", "dog", "blue whale", "bird")
METHODS = ("zero-shot", "refine", "hard", "craft-hard")
TOKENS = 25  # that a request costs


@pytest.fixture(scope="session")
def task() -> Task:
    """Four colours with two shots."""
    rng = np.random.default_rng(0)
    levels = np.array([[180, 0, 0], [0, 180, 0], [0, 0, 180], [0, 0, 0]])

    def images(count: int) -> LabelledImages:
        labels = np.arange(count) % 4
        pixels = levels[labels][:, None, None] + rng.integers(0, 70, (count, 8, 8, 3))
        return LabelledImages(list(pixels.astype(np.uint8)), labels)

    return Task("colours", ("red", "green", "blue", "black"), images(8), images(4))


class Canned(NamedTuple):
    """A response in place of the correct one."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = MappingProxyType({})
    cut: int = 0  # bytes of the body that do not arrive


class Server:
    """craft-mini behind the protocol. Requests are checked by transformers' own server.

    Attributes:
        requests: bodies of requests.
        headers: headers of requests.
        first: responses that precede the correct ones.
        alter: changes correct responses before they are sent.
        sent: tokens billed by its responses.
    """

    def __init__(self, vlm: OpenCLIP) -> None:
        from transformers.cli.serving.systemone import SystemOneHandler

        self._vlm, self._lock = vlm, threading.Lock()
        manager: Any = SimpleNamespace(force_model=None)
        self._validate = SystemOneHandler(manager, None)._validate_request  # type: ignore[arg-type]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.first: list[Canned] = []
        self.alter: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.sent = 0

    def __enter__(self) -> Server:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # else a body waits 40 ms for an ACK

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                with fake._lock:
                    answer = fake._answer(self.path, content, dict(self.headers.items()))
                body = answer.body
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - answer.cut])

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, path: str, content: bytes, headers: dict[str, str]) -> Canned:
        from fastapi import HTTPException

        assert path == "/v1/systemone"
        body = json.loads(content)
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in headers.items()})
        if self.first:
            return self.first.pop(0)
        listed = body.pop("images", None)
        try:
            request = self._validate(body)
        except HTTPException as refusal:
            return Canned(refusal.status_code, {"detail": refusal.detail})
        if listed is None:
            (placeholder, asset), *others = request.assets.items()
            assert request.state == placeholder
            assert not others
            assert asset["format"] == "png"
            image = asset["data_base64"]
        else:
            image = listed[0].removeprefix("data:image/png;base64,")
        answers = self._answers(request.questions, base64.b64decode(image, validate=True))
        self.sent += TOKENS
        usage = {"input_tokens": TOKENS, "output_tokens": 0}
        return Canned(body=self.alter({"model": "m", "answers": answers, "usage": usage}))

    def _answers(self, questions: dict[str, Any], image: bytes) -> dict[str, Any]:
        from transformers.decision import DecisionConfig, parse_questions

        parsed = parse_questions(questions, DecisionConfig())
        texts = [
            [question.instructions, "something else"]
            if question.type == "noul"
            else [
                description or option
                for option, description in zip(question.options, question.descriptions, strict=True)
            ]
            for question in parsed
        ]
        different = list(dict.fromkeys(itertools.chain(*texts)))
        seen = self._vlm.images([Image.open(io.BytesIO(image))], keep=False)
        logits = self._vlm.classifier(different).score("{}", seen)[0]
        answers = {}
        for question, asked in zip(parsed, texts, strict=True):
            values = logits[[different.index(text) for text in asked]]
            powers = np.exp(values - values.max())
            answers[question.name] = question.answer((powers / powers.sum()).tolist())
        return answers


@pytest.fixture
def server(vlm: OpenCLIP) -> Iterator[Server]:
    with Server(vlm) as running:
        yield running


Connect = Callable[..., QuestionVLM]


@pytest.fixture
def connect(server: Server, time: Any) -> Connect:
    """Opens the model of ``server`` without real waits."""

    def open_service(key: str | None = None, **settings: Any) -> QuestionVLM:
        options = SystemOneOptions(**{"timeout": 20.0, **settings})
        service = SystemOne("m", server.url, key=key, options=options)
        return QuestionVLM(service, retrying=time.retrying())

    return open_service


def test_options_are_asked_about_and_probabilities_become_logits(
    server: Server, connect: Connect, vlm: OpenCLIP, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMONE_API_KEY", "mine")
    model = connect()
    images = task.test.images[:3]
    prompts = ["a photo of a {}.", "Which is it? {} at night", "{}"]
    answers = list(model.classifier(NAMES).logits(prompts, model.images(images)))
    assert model.name == f"systemone:m@{server.url}"
    assert len(server.requests) == len(images)
    request = server.requests[0]
    assert request["model"] == "m"
    assert list(request["questions"]) == ["q0", "q1", "q2"]
    assert request["questions"]["q0"] == {
        "type": "choice",
        "instructions": "Which of these does the image show?",
        "criteria": dict.fromkeys(NAMES),
    }
    assert request["questions"]["q1"]["instructions"] == "Which is it?"
    assert request["questions"]["q1"]["criteria"]["cat"] == "cat at night"
    for headers in server.headers:
        assert headers["authorization"] == "Bearer mine"
        assert headers["typesafe-danger-zone-images"] == "true"
        assert headers["idempotency-key"]
    expected = vlm.classifier(NAMES).score("{}", vlm.images(images, keep=False))
    expected -= np.log(np.exp(expected).sum(-1, keepdims=True))
    np.testing.assert_allclose(answers[0], expected, atol=1e-3)
    assert model.billed == Usage(predictions=9, requests=3, images=3, input_tokens=3 * TOKENS)


def test_statements_become_log_odds(server: Server, connect: Connect, task: Task) -> None:
    model = connect()
    box, images = model.independent(["water", "sand"]), model.images(task.test.images[:1])
    logits = box.score("a photo of {}", images)
    asked = [question["instructions"] for question in server.requests[0]["questions"].values()]
    assert asked == ["The image shows a photo of water", "The image shows a photo of sand"]
    assert {question["type"] for question in server.requests[0]["questions"].values()} == {"noul"}
    server.alter = lambda answer: {**answer, "answers": {"q0": {"noul": 0.25}, "q1": {"noul": 1.0}}}
    known = box.score("a photo of {}", images)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(known[0, 0], np.log(1 / 3), atol=1e-5)
    assert 5 < known[0, 1] < 30


def test_images_may_be_sent_in_a_list(server: Server, connect: Connect, task: Task) -> None:
    images = task.test.images
    default, listed = connect(), connect(images="list")
    one = default.classifier(NAMES).score("{}", default.images(images))
    other = listed.classifier(NAMES).score("{}", listed.images(images))
    np.testing.assert_array_equal(one, other)
    assert "assets" not in server.requests[-1]


def test_no_question_contains_the_placeholder_of_the_image(
    server: Server, connect: Connect, task: Task
) -> None:
    model = connect()
    names = ["cat", "<img-1>"]
    model.classifier(names).score("{} next to <img-2>", model.images(task.test.images[:1]))
    assert server.requests[0]["state"] == "<img-3>"


@pytest.mark.parametrize("method", METHODS)
def test_methods_adapt_it(server: Server, task: Task, method: str) -> None:
    model = load_vlm(f"systemone:m@{server.url}/v1", options={"concurrency": 2})
    tuned = tune(model, task, method=method, budget=4)
    predicted = tuned.adapter.predict(model, task.test.images)
    assert predicted.shape == (4, 4)
    assert tuned.meter.queries <= 4
    assert max(len(request["questions"]) for request in server.requests) <= 64
    assert model.billed.input_tokens == server.sent > 0
    assert model.billed.requests == len(server.requests)
    if method == "refine":
        assert tuned.train_accuracy > 0.7


def test_too_many_options_are_a_sentence_and_can_be_divided(
    connect: Connect, vlm: OpenCLIP, task: Task
) -> None:
    names = [f"{name} {number}" for name in NAMES for number in range(8)]
    images = task.test.images[:2]
    model = connect()
    with pytest.raises(CraftZooError, match=r"at most 26 options .*--model-option options=26"):
        model.classifier(names).score("{}", model.images(images))
    model = connect()
    model.service.limits = replace(model.service.limits, options=26)
    divided = model.classifier(names).score("{}", model.images(images))
    expected = vlm.classifier(names).score("{}", vlm.images(images, keep=False))
    np.testing.assert_allclose(np.diff(divided), np.diff(expected), atol=1e-2)
    assert model.billed.requests == len(images)


def test_a_model_that_reads_no_images_is_a_sentence(
    server: Server, connect: Connect, task: Task
) -> None:
    server.first = [Canned(400, {"detail": "Images need a model whose processor handles them."})]
    with pytest.raises(CraftZooError, match=r"reads no images .*: choose a vision-language model$"):
        ask(connect(), task)


def test_server_that_asks_to_wait_is_asked_again(
    server: Server, connect: Connect, task: Task, time: Any
) -> None:
    server.first = [Canned(429, {"detail": "slow down"}, {"Retry-After": "7"}), Canned(503)]
    model = connect()
    ask(model, task)
    assert 7 <= time.now < 10
    assert len({headers["idempotency-key"] for headers in server.headers}) == 1
    assert model.billed == Usage(predictions=1, requests=1, images=1, input_tokens=TOKENS)


@pytest.mark.parametrize("status", [500, 501])
def test_internal_errors_are_retried_twice(
    server: Server, connect: Connect, task: Task, time: Any, status: int
) -> None:
    server.first = 2 * [Canned(status, b"Internal Server Error")]
    ask(connect(), task)
    assert len(server.requests) == 3
    server.first = 3 * [Canned(status, b"Internal Server Error")]
    with pytest.raises(CraftZooError, match=rf"gives no usable answer \(HTTP {status}; 3 attempts"):
        ask(connect(), task)


def test_cut_answer_is_asked_for_again_and_counts_as_billed(
    server: Server, connect: Connect, task: Task
) -> None:
    server.first = [Canned(body=b'{"answers": ', cut=3)]
    model = connect()
    ask(model, task)
    assert len(server.requests) == 2
    assert model.billed.requests == 2
    assert model.billed.input_tokens > TOKENS


USAGE = {"input_tokens": 5}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[" * 100_000,
        [],
        {},
        {"answers": {}, "usage": None},
        {"answers": [], "usage": USAGE},
        {"answers": {"q0": []}, "usage": USAGE},
        {"answers": {"q0": {"probabilities": {"cat": 1.0}}}, "usage": USAGE},
        {"answers": {"q0": {"probabilities": dict.fromkeys("abcd", 0.25)}}, "usage": USAGE},
        {"answers": {"q0": {"probabilities": dict.fromkeys(NAMES, 2)}}, "usage": USAGE},
        {"answers": {"q0": {"probabilities": dict.fromkeys(NAMES, "x")}}, "usage": USAGE},
        {"answers": {"q0": {"probabilities": dict.fromkeys(NAMES, float("nan"))}}, "usage": USAGE},
        {"answers": {}, "usage": {"input_tokens": float("inf")}},
    ],
)
def test_invalid_answers_are_an_error_after_three_attempts(
    server: Server, connect: Connect, task: Task, body: Any
) -> None:
    server.first = 3 * [Canned(body=body)]
    with pytest.raises(CraftZooError, match=r"gives no usable answer .* 3 attempts"):
        ask(connect(), task)
    assert len(server.requests) == 3


def test_question_without_an_answer_counts_as_refused(
    server: Server, connect: Connect, task: Task
) -> None:
    def first_missing(answer: dict[str, Any]) -> dict[str, Any]:
        del answer["answers"]["q0"]
        return answer

    server.alter = first_missing
    model = connect()
    images = model.images(task.test.images[:1])
    refused, answered = model.classifier(NAMES).logits(["a {}", "{}"], images)
    np.testing.assert_array_equal(refused, np.zeros((1, 4)))
    assert np.ptp(answered) > 0
    assert model.refused == 1


@pytest.mark.parametrize(
    ("status", "body", "key", "message"),
    [
        (401, {"error": {"message": "who?"}}, "", r"refused the key \(who\?\): set SYSTEMONE_API"),
        (403, {"detail": "no"}, "k", r"refused the key \(no\): check SYSTEMONE_API_KEY"),
        (404, {"detail": "Not Found"}, "", r"model or the route \(Not Found"),
        (400, {"detail": "Server is pinned to 'x'"}, "", r"pinned to 'x'\): check model"),
        (422, {"detail": [{"loc": ["body", "assets"], "msg": "Extra"}]}, "", r"body.assets: Extra.*"
        "--model-option images=list"),
        (422, {"detail": [{"loc": 3, "msg": "bad"}, 5, None]}, "", r"the request \(bad\)"),
        (413, b"\xff", "", r"an image is too large for .* \(HTTP 413\): make it smaller"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(
    server: Server, connect: Connect, task: Task, status: int, body: Any, key: str, message: str
) -> None:
    server.first = [Canned(status, body)]
    with pytest.raises(CraftZooError, match=message):
        ask(connect(key=key), task)
    assert len(server.requests) == 1


def test_names_and_options_are_checked() -> None:
    host = "http://127.0.0.1:9"
    model = load_vlm(f"systemone:org/model@dev@{host}", options={"options": 26, "images": "list"})
    assert isinstance(model, QuestionVLM)
    assert model.name == f"systemone:org/model@dev@{host}"
    assert model.service.limits.options == 26
    for name in ("systemone:", "systemone:model", f"systemone:@{host}", "systemone:model@"):
        with pytest.raises(CraftZooError, match="incomplete: write systemone:MODEL@https://HOST"):
            load_vlm(name)
    with pytest.raises(CraftZooError, match="at least 2"):
        load_vlm(f"systemone:model@{host}", options={"options": 1})
    with pytest.raises(OptimizerError, match="no option 'detail'"):
        load_vlm(f"systemone:model@{host}", options={"detail": "low"})
    with pytest.raises(OptimizerError, match="must be assets or list"):
        load_vlm(f"systemone:model@{host}", options={"images": "urls"})


def ask(model: QuestionVLM, task: Task) -> np.ndarray:
    """Ask one question about one image."""
    return model.classifier(NAMES).score("{}", model.images(task.test.images[:1]))


@pytest.fixture(scope="session")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Names of two models of ``transformers serve``."""
    helper = runpy.run_path(str(Path(__file__).parent / "transformers_server.py"))
    folder = tmp_path_factory.mktemp("transformers")
    helper["save_vision_language_model"](folder / "llava")
    helper["save_language_model"](folder / "llama")
    with helper["TransformersServer"](folder / "log") as running:
        yield {name: f"systemone:{folder / name}@{running.url}" for name in ("llava", "llama")}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_methods_adapt_a_model_of_transformers(
    transformers_server: dict[str, str], task: Task, method: str
) -> None:
    model = load_vlm(transformers_server["llava"], options={"concurrency": 2})
    tuned = tune(model, task, method=method, budget=4)
    assert tuned.meter.queries <= 4
    predicted = tuned.adapter.predict(model, task.test.images)
    np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-5)
    assert model.billed.input_tokens > 0
    if method == "refine":
        assert tuned.train_accuracy == 1


@pytest.mark.slow
def test_tokens_are_estimated_within_15_percent(
    transformers_server: dict[str, str], task: Task
) -> None:
    options = {"image_tokens": 16, "characters_per_token": 1}
    model = load_vlm(transformers_server["llava"], options=options)
    assert isinstance(model, QuestionVLM)
    image = file_of(task.test.images[0])
    statement = ImageQuestion("The image shows a red square.")
    choice = ImageQuestion("Which is it?", tuple((name, f"a {name}, a pet") for name in NAMES))
    plain = ImageQuestion("Which is it?", tuple((name, "") for name in NAMES))
    for questions in ([statement], [choice], [plain], [statement, choice, plain] * 7):
        request = model.service.request(image, questions)
        expected = model.service.expected(request, image)
        billed = model.service.send(request, questions, "key").usage
        assert abs(expected.input_tokens / billed.input_tokens - 1) < 0.15, questions


@pytest.mark.slow
def test_refusals_of_transformers_are_understood(
    transformers_server: dict[str, str], task: Task
) -> None:
    names, images = [f"class {number}" for number in range(27)], task.test.images[:1]
    model = load_vlm(transformers_server["llava"])
    with pytest.raises(CraftZooError, match="--model-option options=26"):
        model.classifier(names).score("{}", model.images(images))
    model = load_vlm(transformers_server["llava"], options={"options": 26})
    assert model.classifier(names).score("{}", model.images(images)).shape == (1, 27)
    model = load_vlm(transformers_server["llama"])
    with pytest.raises(CraftZooError, match="reads no images"):
        model.classifier(NAMES).score("{}", model.images(images))
    model = load_vlm(transformers_server["llava"], options={"images": "list"})
    with pytest.raises(CraftZooError, match="--model-option images=assets"):
        model.classifier(NAMES).score("{}", model.images(images))


@pytest.mark.slow
def test_a_language_model_of_transformers_is_asked_for_prompts(
    transformers_server: dict[str, str], task: Task, tiny_vlm: OpenCLIP
) -> None:
    pytest.importorskip("openai")
    name = transformers_server["llama"].replace("systemone:", "chat:") + "/v1"
    own = {"llm": name, "answer_tokens": 20, "start": 2}
    config = read_settings({f"llm-prompts.{key}": value for key, value in own.items()})
    before = tiny_vlm.billed
    tuned = tune(tiny_vlm, task, method="llm-prompts", budget=4, config=config)
    billed = (tiny_vlm.billed - before).llm
    assert tuned.meter.queries == 2  # its random weights propose no prompt
    assert billed.llm_requests == 2
    assert 0 < billed.llm_output_tokens <= 40
    assert billed.llm_input_tokens > 400  # a token a character
