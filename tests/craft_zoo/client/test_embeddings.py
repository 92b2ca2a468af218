"""Services of embeddings as models: ``craft-zoo serve --embeddings`` and fake servers."""

from __future__ import annotations

import base64
import io
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import craft_zoo as cz
from craft_zoo.benchmarks import Bench, RunStore, combine, cross
from craft_zoo.blackbox import Journal, Price, ReplayVLM, Usage
from craft_zoo.blackbox.base import Asked
from craft_zoo.client import Retrying
from craft_zoo.client.embeddings import Embeddings, EmbeddingsOptions
from craft_zoo.client.vector_vlm import VectorVLM
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, Task
from craft_zoo.data.images import open_image
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, read_settings, recorded
from craft_zoo.methods.vectors import fit_vectors
from craft_zoo.metrics import accuracy
from craft_zoo.openclip import OpenCLIP
from craft_zoo.solution import Solution

pytest.importorskip("openai")

Start = Callable[[Callable[[dict[str, Any]], Any]], str]
NAMES = ("red square", "green field", "blue sky")
QUICK = Retrying(first=0.01, longest=0.02, sleep=lambda _: None)


class Recording(Embeddings):
    """Records all inputs that were sent."""

    def __init__(self, *arguments: Any, key: str, left: int = 10**9, **options: Any) -> None:
        super().__init__(*arguments, key=key, options=EmbeddingsOptions(**options))
        self.sent: list[Any] = []
        self.requests, self.left, self.tokens = 0, left, 0

    def send(self, inputs: Any, key: str) -> Any:
        if self.requests == self.left:
            raise Died
        self.requests += 1
        self.sent += inputs
        answer = super().send(inputs, key)
        self.tokens += answer.usage.input_tokens
        return answer

    def images(self) -> list[bytes]:
        return [each for each in self.sent if isinstance(each, bytes)]


class Died(BaseException):
    """Simulates that the process is killed."""


@pytest.fixture(scope="module")
def vlm(craft_mini: OpenCLIP) -> OpenCLIP:
    """craft-mini, as these tests depend on accuracy."""
    return craft_mini


@pytest.fixture(scope="module")
def served(vlm: OpenCLIP, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """craft-mini behind ``craft-zoo serve --embeddings``."""
    real = runpy.run_path(str(Path(__file__).parent / "real_server.py"))["RealServer"]
    with real(vlm, tmp_path_factory.mktemp("bill"), embeddings=True) as server:
        yield server


@pytest.fixture
def connect(served: Any, vlm: OpenCLIP) -> Callable[..., VectorVLM]:
    scale = float(vlm._model.logit_scale.exp())

    def connected(concurrency: int = 2, **options: Any) -> VectorVLM:
        given = (vlm.name, f"{served.url}/v1")
        service = Recording(*given, key=served.key, **{"scale": scale, "batch": 8, **options})
        return VectorVLM(service, concurrency=concurrency, retrying=QUICK)

    return connected


def test_logits_are_those_of_the_model(
    connect: Callable[..., VectorVLM], vlm: OpenCLIP, small_task: Task
) -> None:
    prompts = ["a photo of a {}.", tuple(f"{number} {{}}" for number in "abcdefghij")]
    answers = [
        list(
            each.classifier(small_task.classnames).logits(
                prompts, each.images(small_task.train.images)
            )
        )
        for each in (connect(), vlm)
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)


@pytest.mark.slow
def test_refine_and_anchors_agree(
    connect: Callable[..., VectorVLM], vlm: OpenCLIP, digits: cz.Dataset, small_task: Task
) -> None:
    paid = connect()
    task = cz.few_shot(digits, shots=4, seed=1)
    runs = [("zero-shot", True), ("refine", False), ("refine", True), ("anchors", False)]
    for method, discriminant in runs:
        config = CraftConfig(anchors=20, discriminant=discriminant)
        logits = []
        for each in (paid, vlm):
            tuned = cz.tune(each, task, method=method, budget=5, config=config)
            solution = tuned.adapter.solution
            logits.append(solution.refine(*tuned.adapter.ask(each, small_task.test.images)))
        if method == "zero-shot" or not discriminant:
            np.testing.assert_allclose(*logits, atol=1e-4 if method != "anchors" else 1e-2)
        # Rounding may decide between two sums that are equally good.
        there, here = (each.argmax(axis=1) for each in logits)
        assert (there == here).mean() >= 0.9, method
    sent = paid.service.sent  # type: ignore[attr-defined]
    assert len(sent) == len(set(sent))
    assert paid.billed.images == len(task.train) + len(small_task.test)
    assert paid.billed.input_tokens == paid.service.tokens  # type: ignore[attr-defined]


def test_images_and_texts_are_sent_once(
    connect: Callable[..., VectorVLM], small_task: Task
) -> None:
    paid = connect()
    service: Any = paid.service
    twice = [*small_task.train.images, *small_task.train.images]
    images = paid.images(twice)
    box = paid.classifier(NAMES)
    assert service.sent == []
    for template in ("a {}", "b {}", "a {}"):
        box.score(template, images)
    assert len(service.images()) == len(small_task.train)
    assert sorted(set(service.sent) - set(service.images())) == sorted(
        f"{letter} {name}" for letter in "ab" for name in NAMES
    )
    assert service.requests == 3 + 1 + 1  # 20 images in batches of 8, and twice the texts
    assert paid.billed == Usage(3 * len(twice), 5, 20, service.tokens)


@pytest.mark.parametrize("after", [0, 1, 3, 4, 6])
def test_a_killed_run_sends_nothing_again(
    connect: Callable[..., VectorVLM], small_task: Task, tmp_path: Path, after: int
) -> None:
    services: list[Any] = []

    def run(left: int = 10**9) -> tuple[np.ndarray, Usage]:
        with Journal(tmp_path / "journal") as journal:
            model = connect(concurrency=1, left=left)
            services.append(model.service)
            vlm = ReplayVLM(model, journal)
            images = vlm.images(small_task.train.images)
            box = vlm.classifier(NAMES)
            vlm.features(vlm.images(small_task.test.images[:3]))
            answers = [box.score(prompt, images) for prompt in ("a {}", "b {}", "c {}")]
            return np.stack(answers), vlm.billed

    with pytest.raises(Died):
        run(left=after)
    assert services[-1].requests == after
    answers, billed = run()
    whole = services[0].sent + services[1].sent
    assert len(whole) == len(set(whole)) == 20 + 3 + 9
    assert sum(one.requests for one in services) == 7
    assert billed == Usage(60, 7, 23, sum(one.tokens for one in services))
    again, same = run()  # all of it is on disk
    np.testing.assert_array_equal(again, answers)
    assert (services[-1].sent, same) == ([], billed)


def test_vectors_of_another_model_are_not_used(
    connect: Callable[..., VectorVLM], small_task: Task, tmp_path: Path
) -> None:
    for name, expected in (("one", 2), ("one", 0), ("other", 2)):
        paid = connect()
        paid.name = paid.service.name = name
        paid.keep_responses(tmp_path / "kept")
        paid.features(paid.images(small_task.train.images[:2]))
        assert len(paid.service.images()) == expected  # type: ignore[attr-defined]


def test_limits_of_money_stop_before_they_are_passed(
    served: Any, vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", served.key)
    price = Price(input_tokens=1e-3)
    name = f"embeddings:{vlm.name}@{served.url}/v1"
    paid = cz.load_vlm(name, price=price, max_cost=0.3, options={"batch": 4, "concurrency": 1})
    images = paid.images(small_task.train.images)
    box = paid.classifier(NAMES)
    scores = (box.score(f"{number} {{}}", images) for number in range(100))
    with pytest.raises(CraftZooError, match=r"would cost .* exceed the limit of 0\.3"):
        list(scores)
    assert 0.1 < price.cost(paid.billed) <= 0.3
    few = cz.load_vlm(name, max_predictions=30)
    images = few.images(small_task.train.images)
    few.classifier(NAMES).score("a {}", images)
    with pytest.raises(CraftZooError, match="raise max_predictions"):
        few.classifier(NAMES).score("b {}", images)


def test_estimates_are_what_is_billed(connect: Callable[..., VectorVLM], small_task: Task) -> None:
    paid = connect()
    asked = [Asked(("a {}", "b {}")), Asked(("b {}",)), Asked(("c {}",), ("water", "wood"))]
    expected = paid.expected_usage(asked, small_task.train.images, NAMES)
    images = paid.images(small_task.train.images)
    for prompts, texts, _ in asked:
        list(paid.independent(texts or NAMES).logits(prompts, images))
    assert expected == paid.billed
    assert (expected.predictions, expected.images, expected.requests) == (4 * 20, 20, 3 + 2)


def test_vectors_beat_zero_shot(
    connect: Callable[..., VectorVLM], digits: cz.Dataset, small_task: Task, tmp_path: Path
) -> None:
    paid, task = connect(), cz.few_shot(digits, shots=2, seed=1)
    with Journal(tmp_path / "journal") as journal:
        vlm = recorded(paid, "vectors", journal)
        config = read_settings({"lfa.beta": 0.5})  # not validated, which takes seconds
        problem = Problem.open(vlm, task.classnames, task.train, budget=10, seed=1, config=config)
        test, labels = vlm.images(small_task.test.images), small_task.test.labels
        found = {}
        for method in ("zero-shot", "vectors", "lfa"):
            *_, step = get_method(method)(problem)
            found[method] = accuracy(step.solution.logits(problem.box, test), labels)
        assert vlm.billed == paid.billed
    assert found["vectors"] > found["zero-shot"] + 0.2
    assert found["lfa"] > found["zero-shot"]
    assert problem.meter.queries == 0


def test_vectors_are_measured_in_benchmarks(
    connect: Callable[..., VectorVLM], image_folder: Path, tmp_path: Path
) -> None:
    paid = connect()
    runs = cross(
        paid.name,
        [DatasetSpec(f"folder:{image_folder}")],
        combine(["vectors"], [], CraftConfig()),
        shots=[2],
        seeds=[1],
        budgets=[10],
    )
    [[point]] = Bench(paid, RunStore(tmp_path / "runs")).run(runs).values()
    assert point.accuracy > 0.9
    assert (point.queries, paid.billed.images, paid.billed.predictions) == (0, 6 + 9, 0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shots", [1, 2, 8])
def test_vectors_are_classified(n_classes: int, shots: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_classes), shots + 20)
    x = 3 * np.eye(12)[labels] + rng.standard_normal((len(labels), 12))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    shown = np.arange(len(labels)) % (shots + 20) < shots
    probe = fit_vectors(x[shown], labels[shown], n_classes)
    logits = probe.refine(np.zeros((len(x), n_classes), np.float32), x)
    assert accuracy(logits[~shown], labels[~shown]) > 0.7


def answer_to(body: dict[str, Any]) -> dict[str, Any]:
    """Vectors as lists of numbers, in another order."""
    inputs = body.get("input", [0])
    data = [{"index": place, "embedding": [place + 1.0, 2.0, 0.0]} for place in range(len(inputs))]
    return {"data": data[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}}


@pytest.mark.parametrize(("dialect", "requests"), [("data-url", 1), ("messages", 2)])
def test_dialects(json_server: Start, small_task: Task, dialect: Any, requests: int) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return answer_to(body)

    options = EmbeddingsOptions(images=dialect, scale=1)
    paid = VectorVLM(Embeddings("m", json_server(answer), key="", options=options))
    logits = paid.classifier(NAMES).score("{}", paid.images(small_task.train.images[:2]))
    assert logits.shape == (2, 3)
    *of_images, of_texts = sorted(bodies, key=lambda body: body.get("input") == list(NAMES))
    assert of_texts == {"model": "m", "encoding_format": "base64", "input": list(NAMES)}
    assert len(of_images) == requests
    start = "data:image/png;base64,"
    for body in of_images:
        if dialect == "data-url":
            assert body["modality"] == "image"
            assert all(each.startswith(start) for each in body["input"])
            continue
        assert "input" not in body
        [message] = body["messages"]
        [part] = message["content"]
        assert (message["role"], part["type"]) == ("user", "image_url")
        assert part["image_url"]["url"].startswith(start)
    if dialect == "data-url":
        vectors = np.array([[1, 2, 0], [2, 2, 0], [3, 2, 0]], float)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(logits, vectors[:2] @ vectors.T, atol=1e-6)


def test_inputs_that_say_what_they_are(json_server: Start, small_task: Task) -> None:
    """Jina's form of the protocol, which counts all tokens alone in some answers."""
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return answer_to(body) | {"usage": {"total_tokens": 7}}

    options = EmbeddingsOptions(images="objects", scale=1)
    paid = VectorVLM(Embeddings("m", json_server(answer), key="", options=options))
    logits = paid.classifier(NAMES).score("{}", paid.images(small_task.train.images[:2]))
    assert logits.shape == (2, 3)
    of_images, of_texts = sorted(bodies, key=lambda body: "text" in body["input"][0])
    assert of_texts["input"] == [{"text": name} for name in NAMES]
    assert [list(each) for each in of_images["input"]] == [["image"], ["image"]]
    sent = Image.open(io.BytesIO(base64.b64decode(of_images["input"][0]["image"])))
    assert (np.asarray(sent.convert("RGB")) == open_image(small_task.train.images[0])).all()
    assert paid.billed.input_tokens == 14


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": "!"}],
        [{"index": 0, "embedding": [0.0, 0.0]}],
        [{"index": 0, "embedding": [float("nan")]}],
        [{"index": 0, "embedding": 3.0}],
        [{"index": 0}],
        None,
    ],
)
def test_answers_without_vectors_are_refused(
    json_server: Start, small_task: Task, data: Any
) -> None:
    url = json_server(lambda _: {"data": data, "usage": {"prompt_tokens": 1}})
    paid = VectorVLM(Embeddings("m", url, key=""), retrying=QUICK)
    with pytest.raises(CraftZooError, match="gives no usable answer"):
        paid.features(paid.images(small_task.train.images[:1]))
    assert paid.billed.requests == 3


def test_what_is_missing_is_said(json_server: Start, small_task: Task) -> None:
    with pytest.raises(CraftZooError, match="incomplete: write embeddings:MODEL@https://HOST/v1"):
        cz.load_vlm("embeddings:m")
    with pytest.raises(CraftZooError, match=r"option batch of .* must be above 0"):
        cz.load_vlm("embeddings:m@http://localhost/v1", options={"batch": 0})

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        of_texts = "modality" not in body
        data = [
            {"index": n, "embedding": [1.0] * (2 + of_texts)} for n in range(len(body["input"]))
        ]
        return {"data": data, "usage": {"prompt_tokens": 1}}

    paid = VectorVLM(Embeddings("m", json_server(answer), key=""))
    images = paid.images(small_task.train.images[:1])
    with pytest.raises(CraftZooError, match="2 numbers for images and of 3 for texts"):
        paid.classifier(NAMES).score("a {}", images)
    with pytest.raises(CraftZooError, match="takes words only"):
        paid.classifier(NAMES).score(np.zeros((1, 2), np.float32), images)


def test_a_server_keeps_the_vectors_of_its_last_images_alone(
    paid_server: Any, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of an adapter grew by 30 KB with each image that it classified."""
    monkeypatch.setattr("craft_zoo.client.vector_vlm._PASSING", 2)
    service = Recording("m", f"{paid_server.url}/v1", key="k")
    vlm = VectorVLM(service, retrying=QUICK)
    adapter = cz.Adapter.of(Solution("a {}"), vlm, vlm.classifier(NAMES))
    deployed, images = DeployedAdapter(adapter, vlm), small_task.test.images

    def classify(places: Sequence[int]) -> int:
        """The number of images that are sent to the service."""
        before = len(service.images())
        for place in places:
            deployed.predict(vlm.images([images[place]], keep=False))
        return len(service.images()) - before

    adapter.predict(vlm, images[:1])
    assert classify([0, 1, 2]) == 2
    assert classify([2, 1, 3, 1]) == 1
    assert classify([0, 2]) == 1
    assert len(vlm._vectors) == len(NAMES) + 3
    assert not vlm._log.responses()
