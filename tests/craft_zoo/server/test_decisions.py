"""OpenAI's and System One's protocols, by their official clients and our own."""

from __future__ import annotations

import base64
import io
import json
import runpy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import craft_zoo as cz
from craft_zoo.blackbox import VLM
from craft_zoo.client import from_callable
from craft_zoo.client.question_service import ImageQuestion
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import BILLED_HEADER
from craft_zoo.protocol.tokens import TokenRule
from craft_zoo.server.typed_questions import TypedQuestion, answers_to, statement_text
from craft_zoo.server.worker import Job, whole

openai = pytest.importorskip("openai")

ROUNDED = 1.5e-6  # half a unit of the sixth decimal, and the float32 of the model
DECISIONS, SYSTEM_ONE, EMBEDDINGS = "/v1/decisions", "/v1/systemone", "/v1/embeddings"


@pytest.fixture(scope="module")
def vlm(craft_mini: OpenCLIP) -> OpenCLIP:
    """craft-mini instead of the tiny model, as these tests depend on accuracy."""
    return craft_mini


def data_url(file: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def asked(file: bytes, *questions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a request to OpenAI's decisions about one image."""
    content = [{"type": "input_image", "image_url": data_url(file)}]
    message = {"role": "user", "content": content}
    return {"model": "craft-mini", "input": [message], "questions": list(questions)} | more


def choice(*values: str | bool, **more: Any) -> dict[str, Any]:
    choices = [{"value": value} for value in values]
    return {"type": "choice", "instructions": "Which is it?", "choices": choices} | more


def predicate(statement: str) -> dict[str, Any]:
    return {"type": "predicate", "instructions": statement}


def system_one(file: bytes, **questions: Any) -> dict[str, Any]:
    """The body of a request to System One about one image."""
    asset = {"type": "image", "format": "png", "data_base64": base64.b64encode(file).decode()}
    body = {"model": "craft-mini", "state": "<img>", "assets": {"<img>": asset}}
    return {**body, "questions": questions}


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def expected(vlm: OpenCLIP, file: bytes | Path, *texts: str) -> np.ndarray:
    """(C,) probabilities of texts by the model in this process."""
    image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    logits = vlm.classifier([f"text {place}" for place in range(len(texts))]).score(
        tuple(texts), vlm.images([image])
    )
    return softmax(logits)[0]


@pytest.fixture(scope="module")
def files(png: Callable[..., bytes]) -> list[bytes]:
    return [png(seed) for seed in range(7)]


@pytest.fixture
def served(vlm: OpenCLIP, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Serves craft-mini at its own address."""
    module = runpy.run_path(str(Path(__file__).parents[1] / "client" / "real_server.py"))
    running: list[Any] = []

    def start(model: VLM = vlm, **given: Any) -> Any:
        server = module["RealServer"](model, tmp_path / f"state {len(running)}", **given)
        running.append(server.__enter__())
        return server

    yield start
    for server in running:
        server.__exit__()


def sdk(server: Any, **more: Any) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, **more)


def used(server: Any) -> dict[str, int]:
    headers = {"Authorization": f"Bearer {server.key}"}
    usage: dict[str, int] = httpx.get(f"{server.url}/v1/usage", headers=headers).json()
    return usage


def test_the_official_client_gets_the_models_probabilities(
    served: Callable[..., Any], vlm: OpenCLIP, files: list[bytes]
) -> None:
    server = served()
    described = {"value": "dog", "description": "a blurry photo of a dog."}
    levels = [{"label": "calm", "description": "a lake"}, {"label": "rough"}, {"label": "stormy"}]
    decision = sdk(server).decisions.create(
        **asked(
            files[0],
            choice("cat", True, name="pet", choices=[{"value": "cat"}, described, {"value": True}]),
            predicate("The image shows water."),
            {"type": "score", "instructions": "How is the sea?", "levels": levels},
            prompt_cache_key="ours",
            safety_identifier="someone",
        )
    )
    pet, water, sea = decision.answers
    texts = ["a photo of a cat.", "a blurry photo of a dog.", "a photo of a true."]
    of_pet = expected(vlm, files[0], *texts)
    assert [each.value for each in pet.probabilities] == ["cat", "dog", True]
    assert np.allclose([each.probability for each in pet.probabilities], of_pet, 0, ROUNDED)
    assert pet.choice == ["cat", "dog", True][of_pet.argmax()]
    assert pet.confidence == pytest.approx((of_pet.max() - 1 / 3) / (2 / 3), abs=ROUNDED)
    assert pet.name == "pet"
    assert water.name is None
    of_water = expected(vlm, files[0], "a photo of water.", "an image.")
    assert water.probability == pytest.approx(of_water[0], abs=ROUNDED)
    of_sea = expected(vlm, files[0], "calm: a lake", "a photo of a rough.", "a photo of a stormy.")
    assert [(each.label, each.value) for each in sea.probabilities] == [
        ("calm", 0),
        ("rough", 1),
        ("stormy", 2),
    ]
    assert np.allclose([each.probability for each in sea.probabilities], of_sea, 0, ROUNDED)
    assert sea.score == pytest.approx(of_sea @ [0, 1, 2], abs=2 * ROUNDED)
    rule = TokenRule()
    assert decision.usage.input_tokens == (
        rule.request
        + rule.of_image(files[0])
        + rule.of_question("Which is it?", ["cat", "doga blurry photo of a dog.", "true"])
        + rule.of_question("The image shows water.")
        + rule.of_question("How is the sea?", ["calma lake", "rough", "stormy"])
    )
    assert decision.usage.total_tokens == decision.usage.input_tokens
    assert decision.model == "craft-mini"
    assert used(server)["predictions"] == 3


@pytest.mark.parametrize("decimals", [1, 4])
def test_probabilities_are_rounded_as_the_owner_says(
    served: Callable[..., Any], vlm: OpenCLIP, files: list[bytes], decimals: int
) -> None:
    server = served(settings={"decimals": decimals})
    (answer,) = sdk(server).decisions.create(**asked(files[0], choice("cat", "dog"))).answers
    exact = expected(vlm, files[0], "a photo of a cat.", "a photo of a dog.")
    got = [each.probability for each in answer.probabilities]
    assert got == [round(each, decimals) for each in got]
    assert np.allclose(got, exact, 0, 0.51 * 10.0**-decimals)


def test_decisions_about_real_images(
    served: Callable[..., Any], vlm: OpenCLIP, shared_data: Path
) -> None:
    folders = sorted((shared_data / "eurosat" / "test").iterdir())
    if not folders:
        pytest.skip("EuroSAT is not on this machine")
    client = sdk(served())
    template = "a satellite photo of {}."
    texts = [template.replace("{}", folder.name) for folder in folders]
    options = [
        {"value": folder.name, "description": text}
        for folder, text in zip(folders, texts, strict=True)
    ]
    for folder in folders:
        path = next(folder.iterdir())
        file = path.read_bytes()
        (answer,) = client.decisions.create(**asked(file, choice(choices=options))).answers
        got = [each.probability for each in answer.probabilities]
        assert np.allclose(got, expected(vlm, path, *texts), 0, ROUNDED)
        assert answer.choice == folders[int(np.argmax(got))].name


def test_the_same_key_is_answered_alike_and_billed_once(
    served: Callable[..., Any], files: list[bytes]
) -> None:
    server = served()
    client = sdk(server)
    create = client.decisions.with_raw_response.create
    body, named = asked(files[0], choice("cat", "dog")), {"Idempotency-Key": "k"}
    answers = [create(**body, extra_headers=named) for _ in range(2)]
    server.restart()
    answers.append(create(**body, extra_headers=named))
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers[BILLED_HEADER] for answer in answers} == {"1"}
    assert used(server)["requests"] == 1
    with pytest.raises(openai.BadRequestError) as caught:
        create(**asked(files[1], choice("cat", "dog")), extra_headers=named)
    assert caught.value.code == "idempotency_key_reused"
    for _ in range(2):
        create(**body)
    assert used(server)["requests"] == 3


def test_a_quota_is_not_passed_and_not_asked_for_twice(
    served: Callable[..., Any], files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(quota=2)
    client = sdk(server, max_retries=5)
    body = asked(files[0], predicate("The image shows a cat."), predicate("It is red."))
    with pytest.raises(openai.RateLimitError) as caught:
        client.decisions.create(**body | {"questions": [predicate("It is red.")] * 3})
    assert caught.value.code == "insufficient_quota"
    assert "quota of 2" in caught.value.message
    client.decisions.create(**body)
    assert used(server)["predictions"] == 2
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    model = cz.load_vlm(f"openai:craft-mini@{server.url}/v1")
    with pytest.raises(CraftZooError, match="no quota left"):
        model.classifier(["cat", "dog"]).score("{}", model.images([Image.new("RGB", (9, 9))]))
    assert used(server)["requests"] == 1


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"model": "gpt-6-luna"}, "model_not_found", "ask for 'craft-mini'"),
        ({"model": 5}, "bad_request", "model"),
        ({"temperature": 1}, "bad_request", "temperature"),
        ({"input": "a cat"}, "bad_request", "no image"),
        ({"input": []}, "bad_request", "no image"),
        ({"input": [{"role": "user", "content": [IMAGE] * 2}]}, "bad_request", "2 images"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "invalid_image", "cannot identify"),
        ({"input": [{"role": "user"}]}, "bad_request", "needs a role and content"),
        ({"input": [{"role": "root", "content": "x"}]}, "bad_request", "input.0.role"),
        ({"questions": []}, "bad_request", "at least 1"),
        ({"questions": [predicate("It is red.")] * 401}, "bad_request", "at most 400"),
        ({"questions": [choice("a")]}, "bad_request", "at least 2"),
        ({"questions": [choice(*map(str, range(256)))]}, "bad_request", "at most 255"),
        ({"questions": [choice("a", "a")]}, "bad_request", "'a' occurs twice"),
        ({"questions": [choice("a", "")]}, "bad_request", "at least 1 character"),
        ({"questions": [choice("a", 3)]}, "bad_request", "questions.0.choice.choices.1.value"),
        ({"questions": [{"type": "essay"}]}, "bad_request", "questions.0"),
        ({"questions": [predicate(" ")]}, "bad_request", "states nothing"),
        ({"questions": [choice("a", "b" * 600)]}, "too_large", "more than 500 characters"),
        ({"questions": [choice("a", "b " * 200)]}, "bad_request", "longer than the model's"),
    ],
)
def test_faults_are_in_openais_form_and_cost_nothing(
    serve: Callable[..., Any], files: list[bytes], change: dict[str, Any], code: str, said: str
) -> None:
    ann = serve().ann
    body = asked(files[0], predicate("The image shows a cat."))
    response = ann.send("POST", DECISIONS, json=body | change)
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert said in error["message"]
    assert response.status_code in (400, 404, 413)
    assert ann.usage()["requests"] == 0


@pytest.mark.parametrize("url", ["https://example.org/cat.png", "HTTP://a/b", "file:///etc/passwd"])
def test_nothing_is_fetched(serve: Callable[..., Any], files: list[bytes], url: str) -> None:
    body = asked(files[0], predicate("The image shows a cat."))
    body["input"][0]["content"][0]["image_url"] = url
    error = serve().ann.send("POST", DECISIONS, json=body).json()["error"]
    assert "data:image/png;base64" in error["message"]
    assert error["param"] == "input"


def test_keys_rates_and_busy_servers_are_in_openais_form(
    serve: Callable[..., Any], files: list[bytes]
) -> None:
    served = serve(limits={"burst": 1, "waiting": 1})
    client, body = served.client, asked(files[0], predicate("The image shows a cat."))
    for path in (DECISIONS, EMBEDDINGS):
        response = client.post(path, json=body, headers={"Authorization": "Bearer wrong"})
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
    assert served.ann.send("POST", DECISIONS, json=body).is_success
    response = served.ann.send("POST", DECISIONS, json=body)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(response.headers["Retry-After"]) >= 1
    served.service.admission.slots_taken = 1
    response = served.bob.send("POST", DECISIONS, json=body)
    served.service.admission.slots_taken = 0
    assert response.status_code == 503
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "busy")


def test_what_openai_allows_is_taken(
    serve: Callable[..., Any], vlm: OpenCLIP, files: list[bytes]
) -> None:
    """Context of every kind, and as many questions and options as there may be."""
    parts = [{"type": "input_text", "text": "Look closely."}]
    body = asked(files[0])
    body["input"] = [
        {"role": "system", "content": parts},
        {"role": "developer", "content": "Be brief.", "type": "message"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Show me."}]},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "1"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [*body["input"][0]["content"], {"type": "input_text", "text": "There."}],
        },
        {"role": "user", "content": [{"type": "input_json", "data": {"seen": [1, None]}}]},
    ]
    values = [f"thing {place}" for place in range(255)]
    body["questions"] = [choice(*values, instructions=parts), *[predicate("It is red.")] * 2]
    body["questions"] += [choice(*values)] * 397
    ann = serve().ann
    response = ann.send("POST", DECISIONS, json=body)
    assert response.status_code == 200, response.text
    answers = response.json()["answers"]
    assert len(answers) == 400
    exact = expected(vlm, files[0], *[f"a photo of a {value}." for value in values])
    for answer in (answers[0], answers[-1]):
        got = [each["probability"] for each in answer["probabilities"]]
        assert np.allclose(got, exact, 0, ROUNDED)
    assert ann.usage()["predictions"] == 400


def test_texts_that_the_model_reads_alike_are_equally_likely(
    serve: Callable[..., Any], files: list[bytes]
) -> None:
    body = asked(files[0], choice("Cat", "cat", "CAT", "true", True))
    (answer,) = serve().ann.send("POST", DECISIONS, json=body).json()["answers"]
    probabilities = [each["probability"] for each in answer["probabilities"]]
    assert len(set(probabilities[:3])) == len(set(probabilities[3:])) == 1


def test_only_the_best_options_are_told_apart(
    serve: Callable[..., Any], files: list[bytes]
) -> None:
    ann = serve(answers="log_probabilities", top_k=2).ann
    body = asked(files[0], choice("cat", "dog", "tree", "sea", "car"))
    (answer,) = ann.send("POST", DECISIONS, json=body).json()["answers"]
    probabilities = sorted(each["probability"] for each in answer["probabilities"])
    assert len(set(probabilities)) == 3
    assert probabilities[0] == probabilities[2] < probabilities[3] < probabilities[4]
    body["questions"].append(predicate("The image shows a cat."))
    error = ann.send("POST", DECISIONS, json=body).json()["error"]
    assert "question 1 has 2" in error["message"]


class Counting(OpenCLIP):
    """craft-mini, which counts the texts and the sets of images that it encodes."""

    texts = calls = 0

    def opening_texts(self, texts: Sequence[str]) -> Any:
        self.texts += len(texts)
        return super().opening_texts(texts)

    def images(self, images: Sequence[Any], progress: Any = None, *, keep: bool = True) -> Any:
        self.calls += 1
        return super().images(images, progress, keep=keep)


def test_requests_that_wait_share_a_call_and_texts_are_encoded_once(
    serve: Callable[..., Any], vlm: OpenCLIP, files: list[bytes]
) -> None:
    model = Counting.load("craft-mini", cache=False)
    assert isinstance(model, Counting)
    served = serve(model)
    questions = [choice("cat", "dog"), choice("cat", "sea"), predicate("The image shows a cat.")]

    def ask(user: Any, file: bytes) -> list[float]:
        answers = user.send("POST", DECISIONS, json=asked(file, *questions)).json()["answers"]
        return [each["probability"] for each in answers[1]["probabilities"]]

    ask(served.ann, files[0])
    assert model.texts == 4  # "a photo of a cat." occurs in two questions
    hold, service = threading.Event(), served.service
    model.calls = 0
    service._worker.submit(Job("", "hold", whole(lambda: hold.wait(10))))
    with ThreadPoolExecutor(7) as pool:
        users = [served.ann, served.bob]
        waiting = [pool.submit(ask, users[place % 2], file) for place, file in enumerate(files)]
        while service._worker.waiting < len(files):
            pass
        hold.set()
        got = [each.result() for each in waiting]
    assert model.texts == 4
    assert model.calls < 4  # bob's first request opens the texts before it is scored
    texts = "a photo of a cat.", "a photo of a sea."
    exact = [expected(vlm, file, *texts) for file in files]
    assert np.allclose(got, exact, 0, ROUNDED)


def test_features_of_images_are_kept_for_later_questions(
    serve: Callable[..., Any], files: list[bytes]
) -> None:
    served = serve(limits={"cached_images": 1})
    for file in (files[5], files[5], files[6]):
        for name in ("cat", "dog"):
            body = asked(file, choice(name, "sea"))
            assert served.ann.send("POST", DECISIONS, json=body).is_success
    assert served.service.cached["ann"] == 1


def test_a_model_of_another_kind_decides_too(serve: Callable[..., Any], files: list[bytes]) -> None:
    def ask(prompts: list[str], images: list[Any]) -> list[list[float]]:
        return [[float(len(prompt)) for prompt in prompts] for _ in images]

    ann = serve(from_callable(ask), name="mine").ann
    body = asked(files[0], choice("a", "bb"), model="mine")
    (answer,) = ann.send("POST", DECISIONS, json=body).json()["answers"]
    assert answer["choice"] == "bb"
    assert answer["probabilities"][1]["probability"] == pytest.approx(0.731059)


def test_system_one(serve: Callable[..., Any], vlm: OpenCLIP, files: list[bytes]) -> None:
    served = serve()
    body = system_one(
        files[0],
        pet={"type": "choice", "criteria": {"cat": None, "dog": "a brown dog"}},
        water={"type": "noul", "instructions": "The picture shows water."},
        red={"type": "noul", "criteria": {"true": "a red image.", "false": "a blue image."}},
        size={"type": "score", "instructions": "How large?", "criteria": ["small", "large"]},
        sure={"type": "choice", "criteria": {"only": None}},
    )
    response = served.ann.send("POST", SYSTEM_ONE, json=body, headers={"Idempotency-Key": "k"})
    assert response.status_code == 200, response.text
    said = response.json()
    answers = said["answers"]
    pet = expected(vlm, files[0], "a photo of a cat.", "a brown dog")
    assert list(answers) == ["pet", "water", "red", "size", "sure"]
    assert list(answers["pet"]["probabilities"]) == ["cat", "dog"]
    assert np.allclose(list(answers["pet"]["probabilities"].values()), pet, 0, ROUNDED)
    assert answers["pet"]["choice"] == ["cat", "dog"][pet.argmax()]
    for name, texts in (
        ("water", ("a photo of water.", "an image.")),
        ("red", ("a red image.", "a blue image.")),
    ):
        exact = expected(vlm, files[0], *texts)[0]
        assert answers[name] == {"type": "noul", "noul": pytest.approx(exact, abs=ROUNDED)}
    size = expected(vlm, files[0], "small", "large")
    assert answers["size"]["score"] == pytest.approx(size[1], abs=ROUNDED)
    assert answers["size"]["legend"] == {"0": "small", "1": "large"}
    assert list(answers["size"]["probabilities"]) == ["0", "1"]
    assert answers["sure"]["confidence"] == 1
    rule = TokenRule()
    assert said["usage"]["output_tokens"] == 0
    assert said["usage"]["input_tokens"] == (
        rule.request
        + rule.of_image(files[0])
        + rule.of_question("", ["cat", "doga brown dog"])
        + rule.of_question("The picture shows water.")
        + rule.of_question("", ["truea red image.", "falsea blue image."])
        + rule.of_question("How large?", ["small", "large"])
        + rule.of_question("", ["only"])
    )
    again = served.ann.send("POST", SYSTEM_ONE, json=body, headers={"Idempotency-Key": "k"})
    assert again.content == response.content
    assert served.ann.usage()["predictions"] == 5
    listed = {name: value for name, value in body.items() if name != "assets"}
    listed["images"] = [data_url(files[0])]
    assert served.ann.send("POST", SYSTEM_ONE, json=listed).json() == said


NOUL = {"type": "noul", "instructions": "The image shows a cat."}


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"model": "jev"}, 404, "ask for 'craft-mini'"),
        ({"assets": {}}, 400, "no image"),
        ({"assets": {"x": {"data_base64": "https://example.org/x.png"}}}, 400, "fetches nothing"),
        ({"assets": {"x": {"data_base64": "?"}}}, 422, "base 64"),
        ({"images": [data_url(b"")]}, 400, "2 images"),
        ({"questions": {}}, 422, "at least 1"),
        ({"questions": {f"q{place}": NOUL for place in range(65)}}, 422, "at most 64"),
        ({"questions": {"q": {"type": "noul"}}}, 400, "'q' states nothing"),
        ({"questions": {"q": {"type": "choice"}}}, 422, "criteria"),
        ({"questions": {"q": {**NOUL, "hint": 1}}}, 422, "hint"),
        ({"stream": True}, 422, "stream"),
    ],
)
def test_system_ones_faults_are_in_its_form(
    serve: Callable[..., Any], files: list[bytes], change: dict[str, Any], status: int, said: str
) -> None:
    served = serve()
    response = served.ann.send("POST", SYSTEM_ONE, json=system_one(files[0], q=NOUL) | change)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["detail"]
    assert said in response.json()["detail"]
    assert served.ann.usage()["requests"] == 0
    many = {f"q{place}": NOUL for place in range(11)}
    poor = served.poor.send("POST", SYSTEM_ONE, json=system_one(files[0], **many))
    assert poor.status_code == 402


def test_embeddings_are_given_only_if_the_owner_says_so(
    serve: Callable[..., Any], served: Callable[..., Any], vlm: OpenCLIP, files: list[bytes]
) -> None:
    closed = serve()
    body = {"model": "craft-mini", "input": "a cat"}
    response = closed.ann.send("POST", EMBEDDINGS, json=body)
    assert response.status_code == 404
    assert "--embeddings" in response.json()["error"]["message"]
    assert EMBEDDINGS not in closed.client.get("/openapi.json").json()["paths"]
    server = served(settings={"embeddings": True})
    client = sdk(server)
    texts = ["a photo of a cat.", "a photo of a dog."]
    inputs = [texts[0], data_url(files[0]), texts[1], data_url(files[1])]
    answer = client.embeddings.create(model="craft-mini", input=inputs)
    rows = np.array([each.embedding for each in answer.data])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    scale = 25  # craft-mini's
    for place in (1, 3):
        probabilities = softmax(scale * rows[[0, 2]] @ rows[place])
        assert np.allclose(probabilities, expected(vlm, files[place // 2], *texts), atol=1e-5)
    plain = client.embeddings.create(model="craft-mini", input=texts[1], encoding_format="float")
    assert np.allclose(plain.data[0].embedding, rows[2], atol=1e-6)
    rule = TokenRule()
    assert plain.usage.prompt_tokens == rule.request + rule.of_text(texts[1])
    assert used(server)["predictions"] == 5
    for wrong, said in (
        ({"dimensions": 5}, "dimensions"),
        ({"input": [""]}, "empty"),
        ({"input": ["?"], "extra_body": {"modality": "image"}}, "base 64"),
        ({"input": ["x " * 100]}, "longer than the model's"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            client.embeddings.create(**{"model": "craft-mini", "input": "a cat"} | wrong)
    with pytest.raises(CraftZooError, match="no features"):
        serve(from_callable(lambda prompts, images: [[0.0]]), embeddings=True)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["openai", "systemone"])
def test_our_own_clients_agree_with_the_model_in_this_process(
    served: Callable[..., Any],
    vlm: OpenCLIP,
    digits: cz.Dataset,
    small_task: Task,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    server = served(settings={"decimals": 9})
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    monkeypatch.setenv("SYSTEMONE_API_KEY", server.key)
    model = cz.load_vlm(f"{scheme}:craft-mini@{server.url}/v1")
    assert isinstance(model, QuestionVLM)
    billed = 0
    # With two shots, cross-validation compares equals, and rounding decides.
    task = cz.few_shot(digits, shots=4, seed=1)
    for method, prompts in (("zero-shot", 1), ("refine", 1), ("anchors", 2)):
        there, here = (cz.tune(each, task, method=method, budget=60) for each in (model, vlm))
        images = small_task.test.images[:20]
        got, exact = there.adapter.predict(model, images), here.adapter.predict(vlm, images)
        if method != "anchors":  # those are compared with a neutral text
            assert np.allclose(got, exact, atol=2e-3)
            assert np.mean(got.argmax(1) == exact.argmax(1)) >= 0.9
        billed += prompts * len(images)
    assert used(server)["predictions"] > billed
    # The estimate of tokens before a request is exact here.
    expected_tokens, service = [], model.service
    for count in (1, 3):
        questions = [ImageQuestion("Which?", (("cat", ""), ("dog", "a brown dog.")))] * count
        file = io.BytesIO()
        Image.new("RGB", (40, 70)).save(file, "PNG")
        request = service.request(file.getvalue(), questions)
        reply = service.send(request, questions, f"key-{count}")
        expected_tokens.append((service.expected(request, file.getvalue()), reply.usage))
    if scheme == "openai":
        assert all(before == billed for before, billed in expected_tokens)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("The image shows water.", "a photo of water."),
        ("the picture  shows a dog", "a photo of a dog."),
        ("This photo shows the U.S. flag.", "a photo of the U.S. flag."),
        ("There is a dog on the sofa.", "There is a dog on the sofa."),
    ],
)
def test_statements_become_texts(statement: str, text: str) -> None:
    assert statement_text(statement) == text


@pytest.mark.parametrize("kind", ["choice", "score"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_confidence_is_that_of_transformers(kind: Any, count: int) -> None:
    decision = pytest.importorskip("transformers.decision")
    rng = np.random.default_rng(count)
    for probabilities in (rng.dirichlet(np.ones(count)), np.ones(count) / count):
        names = [str(place) for place in range(count)]
        criteria: Any = names if kind == "score" else dict.fromkeys(names)
        (reference,) = decision.parse_questions(
            {"q": {"type": kind, "criteria": criteria}}, decision.DecisionConfig()
        )
        wanted = reference.answer(probabilities.tolist())
        question = TypedQuestion(kind, tuple(names), 0)
        (got,) = answers_to([question], lambda _: probabilities[None], 9)  # noqa: B023
        assert got.confidence == pytest.approx(wanted["confidence"], abs=1e-8)
        assert got.probabilities == pytest.approx(list(wanted["probabilities"].values()))
        if kind == "score":
            assert got.score == pytest.approx(wanted["score"])
        else:
            assert names[got.best] == wanted["choice"]


def test_a_body_of_many_names_is_refused(serve: Callable[..., Any], files: list[bytes]) -> None:
    body = asked(files[0], predicate("It is red."))
    body["input"].append({"role": "user", "content": [{"type": "input_json", "data": {"deep": 1}}]})
    text = json.dumps(body).replace('"deep": 1', ",".join(f'"{n}": 1' for n in range(300_000)))
    response = serve().ann.send(
        "POST", DECISIONS, content=text, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413
    assert "more than" in response.json()["error"]["message"]
