"""A served adapter: images in, classes and probabilities out."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from craft_zoo.adapter import Adapter
from craft_zoo.anchors import Anchors
from craft_zoo.blackbox import VLM, ImageSet, WrappedVLM
from craft_zoo.cli import main
from craft_zoo.client import HuggingFaceVLM, RemoteVLM, from_callable
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError, RefusedError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.network import Refiner
from craft_zoo.server.worker import Job, whole
from craft_zoo.solution import Solution

NAMES = ("cat", "dog", 'red "square" ß')
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Png = Callable[..., bytes]
Refused = Callable[..., str]
Serve = Callable[..., Any]


@pytest.fixture(scope="module")
def vlm(craft_mini: OpenCLIP) -> OpenCLIP:
    """craft-mini instead of the tiny model, as these tests depend on accuracy."""
    return craft_mini


def convex(n_anchors: int = 0) -> ConvexRefiner:
    rng = np.random.default_rng(3)
    weight = rng.normal(0, 0.3, (len(NAMES) + n_anchors, len(NAMES))).astype(np.float32)
    return ConvexRefiner(weight, rng.normal(size=len(NAMES)).astype(np.float32))


def adapter_of(vlm: VLM, kind: str) -> Adapter:
    """An adapter of a method, with random numbers."""
    box = vlm.classifier(NAMES)
    context = box.initial_context + np.float32(0.05)
    own = np.stack([context + np.float32(step) for step in (0, 0.1, 0.2)])
    texts = ("tree", "night sky")
    solutions = {
        "zero-shot": lambda: Solution("a photo of a {}."),
        "hard": lambda: Solution(("a {}.", "one {}", "the {}"), Refiner(3, hidden=8, seed=1)),
        "craft": lambda: Solution(own, convex()),
        "anchors": lambda: Solution(context, convex(2), Anchors(texts, ["a photo of a {}."])),
        "craft-anchors": lambda: Solution(
            own, convex(4), Anchors(texts, np.stack([context, context + np.float32(0.1)]))
        ),
    }
    return Adapter.of(solutions[kind](), vlm, box)


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


@pytest.fixture(scope="module")
def adapter(vlm: OpenCLIP) -> Adapter:
    return adapter_of(vlm, "craft")


@pytest.fixture(scope="module")
def deployed(vlm: OpenCLIP, adapter: Adapter) -> DeployedAdapter:
    return DeployedAdapter(adapter, vlm, CREATED)


def classify(user: Any, file: bytes, path: str = "/v1/classify", **headers: str) -> httpx.Response:
    """Send an image file; header names are given with underscores."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    response: httpx.Response = user.send(
        "POST", path, content=file, headers={"Content-Type": "image/png", **given}
    )
    return response


def rows_of(answers: Sequence[dict[str, Any]]) -> np.ndarray:
    """(N, C) probabilities of responses that contain all classes."""
    return np.array([[each["probabilities"][name] for name in NAMES] for each in answers])


@pytest.mark.parametrize("kind", ["zero-shot", "hard", "craft", "anchors", "craft-anchors"])
def test_answers_are_the_adapters_own(vlm: OpenCLIP, serve: Serve, png: Png, kind: str) -> None:
    adapter = adapter_of(vlm, kind)
    files = [png(seed) for seed in range(5)]
    expected = adapter.predict(vlm, [opened(file) for file in files])
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images differ
    ann = serve(adapter=DeployedAdapter(adapter, vlm)).ann
    one = classify(ann, files[0]).json()
    assert one["model"] == vlm.name
    assert np.allclose(rows_of([one]), expected[:1], atol=1e-5)
    assert one["label"] == NAMES[expected[0].argmax()] == next(iter(one["probabilities"]))
    assert one["probability"] == max(one["probabilities"].values())
    encoded = [base64.b64encode(file).decode() for file in files]
    several = ann.send("POST", "/v1/classify", json={"images": encoded})
    assert several.headers["Craft-Zoo-Billed"] == "5"
    assert several.json()["model"] == vlm.name
    assert np.allclose(rows_of(several.json()["images"]), expected, atol=1e-5)
    assert ann.usage()["predictions"] == 6
    assert ann.usage()["scores"] == 18


def test_an_image_is_a_file_base64_or_a_data_url(
    serve: Serve, deployed: DeployedAdapter, png: Png
) -> None:
    ann = serve(adapter=deployed).ann
    text = base64.b64encode(png(1)).decode()
    answers = [
        classify(ann, png(1)),
        classify(ann, png(1), Content_Type="application/octet-stream"),
        ann.send("POST", "/v1/classify", json={"image": text}),
        ann.send("POST", "/v1/classify", json={"image": f"data:image/png;base64,{text}"}),
    ]
    assert len({answer.content for answer in answers}) == 1
    several = ann.send("POST", "/v1/classify", json={"images": [text]}).json()
    assert several["images"] == [{k: v for k, v in answers[0].json().items() if k != "model"}]


def test_the_likeliest_classes_alone(serve: Serve, deployed: DeployedAdapter, png: Png) -> None:
    ann = serve(adapter=deployed).ann
    whole = classify(ann, png(0)).json()
    ordered = list(whole["probabilities"].items())
    assert [value for _, value in ordered] == sorted(dict(ordered).values(), reverse=True)
    for k in (1, 2, 3, 99):
        some = classify(ann, png(0), f"/v1/classify?top_k={k}").json()
        assert list(some["probabilities"].items()) == ordered[:k]
        assert some["label"] == whole["label"]
    # The owner may tell no more than that.
    limited = serve(adapter=deployed, answers="log_probabilities", top_k=2).ann
    for path in ("/v1/classify", "/v1/classify?top_k=3"):
        assert list(classify(limited, png(0), path).json()["probabilities"].items()) == ordered[:2]
    assert len(classify(limited, png(0), "/v1/classify?top_k=1").json()["probabilities"]) == 1


def test_what_the_adapter_is(serve: Serve, vlm: OpenCLIP, adapter: Adapter) -> None:
    expected = {
        "zero-shot": ("template", None, 0),
        "hard": ("templates", "network", 0),
        "craft": ("contexts", "convex", 0),
        "craft-anchors": ("contexts", "convex", 4),
    }
    for kind, parts in expected.items():
        ann = serve(adapter=DeployedAdapter(adapter_of(vlm, kind), vlm, CREATED), name="pets").ann
        assert ann.send("GET", "/v1/adapter").json() == {
            "model": "pets",
            "classes": list(NAMES),
            "method": dict(zip(("prompt", "refiner", "anchors"), parts, strict=True)),
            "created": "2026-01-02T03:04:05Z",
        }
    unknown = serve(adapter=DeployedAdapter(adapter, vlm)).ann.send("GET", "/v1/adapter").json()
    assert unknown["created"] is None


def test_the_model_is_served_only_if_that_is_meant(
    serve: Serve, deployed: DeployedAdapter, png: Png, refused: Refused
) -> None:
    plain, alone, both = serve(), serve(adapter=deployed), serve(adapter=deployed, with_model=True)

    def paths(served: Any) -> set[str]:
        return set(served.client.get("/openapi.json").json()["paths"])

    common = {"/v1/usage", "/healthz", "/readyz", "/metrics"}
    assert paths(alone) == {"/v1/adapter", "/v1/classify", *common}
    assert paths(both) == paths(plain) | paths(alone)
    assert not paths(plain) & {"/v1/adapter", "/v1/classify"}
    refused(alone.ann.send("GET", "/v1/model"), 404, "not_found")
    refused(classify(plain.ann, png(0)), 404, "not_found")
    assert both.ann.score(both.ann.classifier(), both.ann.upload([png(0)]), ["a {}"]).is_success
    assert classify(both.ann, png(0)).content == classify(alone.ann, png(0)).content


def test_keys_and_limits_of_the_other_routes_hold(
    serve: Serve, deployed: DeployedAdapter, png: Png, refused: Refused
) -> None:
    served = serve(adapter=deployed, limits={"burst": 3, "requests_per_second": 1})
    for method, path in (("GET", "/v1/adapter"), ("POST", "/v1/classify")):
        for key in ("", "Bearer wrong"):
            response = served.client.request(method, path, headers={"Authorization": key})
            refused(response, 401, "unauthorized")
    for _ in range(3):
        assert classify(served.ann, png(0)).is_success
    response = classify(served.ann, png(0))
    refused(response, 429, "rate_limited")
    assert response.headers["Retry-After"] == "1"
    assert classify(served.bob, png(0)).is_success


def test_a_quota_is_kept(
    serve: Serve, deployed: DeployedAdapter, png: Png, refused: Refused
) -> None:
    poor = serve(adapter=deployed).poor  # 10 predictions
    body = {"images": [base64.b64encode(png(seed)).decode() for seed in range(6)]}
    assert poor.send("POST", "/v1/classify", json=body).is_success
    response = poor.send("POST", "/v1/classify", json=body)
    assert "6 more predictions" in refused(response, 402, "quota_exceeded")
    assert classify(poor, png(0)).is_success
    assert poor.usage()["remaining"] == 3


def test_what_is_asked_again_under_its_name_is_billed_once(
    serve: Serve,
    deployed: DeployedAdapter,
    vlm: OpenCLIP,
    png: Png,
    refused: Refused,
    tmp_path: Path,
) -> None:
    served = serve(adapter=deployed, state=tmp_path)
    ann = served.ann
    first = classify(ann, png(0), Idempotency_Key="k")
    again = classify(ann, png(0), Idempotency_Key="k")
    assert first.headers["Idempotency-Key"] == "k"
    assert (again.content, again.headers["Craft-Zoo-Billed"]) == (first.content, "1")
    assert ann.usage()["predictions"] == 1
    for change in ({"file": png(1)}, {"path": "/v1/classify?top_k=1"}):
        given = {"file": png(0), **change}
        refused(classify(ann, **given, Idempotency_Key="k"), 409, "conflict")
    classify(ann, png(0))
    classify(ann, png(0))
    assert ann.usage()["predictions"] == 3  # without a name, each is billed
    served.client.__exit__(None, None, None)
    # A restarted server knows the answer, but not as one of another adapter.
    same = serve(adapter=DeployedAdapter(adapter_of(vlm, "craft"), vlm), state=tmp_path)
    assert classify(same.ann, png(0), Idempotency_Key="k").content == first.content
    same.client.__exit__(None, None, None)
    other = serve(adapter=DeployedAdapter(adapter_of(vlm, "hard"), vlm), state=tmp_path).ann
    refused(classify(other, png(0), Idempotency_Key="k"), 409, "conflict")


def test_bad_requests_are_sentences(
    serve: Serve, deployed: DeployedAdapter, png: Png, refused: Refused
) -> None:
    limits = {"pixels": 10_000, "request_pixels": 10_000, "request_images": 3}
    limits |= {"body_bytes": 10_000, "json_bytes": 20_000, "answer_bytes": 300}
    ann = serve(adapter=deployed, limits=limits).ann
    text = base64.b64encode(png(0)).decode()
    large = base64.b64encode(png(0, (90, 90))).decode()  # 8,100 pixels of noise: 24 kB

    def send(body: Any) -> httpx.Response:
        response: httpx.Response = ann.send("POST", "/v1/classify", json=body)
        return response

    assert "cannot be read" in refused(classify(ann, png(0)[:500]), 422, "bad_image")
    assert "send JPEG, PNG or WebP" in refused(classify(ann, b"GIF89a"), 422, "bad_image")
    refused(classify(ann, b""), 422, "bad_image")
    assert "larger than 10,000" in refused(classify(ann, png(0, (90, 90))), 413, "too_large")
    assert "larger than 20,000" in refused(send({"image": large}), 413, "too_large")
    file = io.BytesIO()
    Image.new("RGB", (200, 100)).save(file, "PNG")
    assert "200 x 100 pixels" in refused(classify(ann, file.getvalue()), 422, "bad_image")
    wide = base64.b64encode(file.getvalue()).decode()
    assert "image 1" in refused(send({"images": [text, wide]}), 422, "bad_image")
    assert "send at most 3" in refused(send({"images": [text] * 4}), 413, "too_large")
    assert "with top_k" in refused(send({"images": [text] * 3}), 413, "too_large")
    assert "no image in base 64" in refused(
        send({"image": "https://a.example/b.png"}), 422, "bad_request"
    )
    for body in ({}, {"image": text, "images": [text]}, {"images": []}, {"images": text}, [text]):
        refused(send(body), 422, "bad_request")
    refused(classify(ann, png(0), "/v1/classify?top_k=0"), 422, "bad_request")
    refused(classify(ann, png(0), Content_Type="text/plain"), 415, "unsupported")
    refused(classify(ann, png(0), Content_Encoding="gzip"), 415, "unsupported")
    refused(classify(ann, png(0), Craft_Zoo_Digest="0" * 64), 400, "bad_digest")
    assert ann.usage()["requests"] == 0


class Counting(WrappedVLM):
    """Records the number of images of each call."""

    def __init__(self, vlm: VLM) -> None:
        super().__init__(vlm)
        self.calls: list[int] = []

    def images(self, images: Sequence[Any], progress: Any = None, *, keep: bool = True) -> ImageSet:
        self.calls.append(len(images))
        return super().images(images, progress, keep=keep)


def test_parallel_clients_share_calls_and_get_the_adapters_answers(
    serve: Serve, tiny_vlm: OpenCLIP, png: Png, wait_for: Callable[..., None]
) -> None:
    files, adapter = [png(seed) for seed in range(16)], adapter_of(tiny_vlm, "craft")
    expected = adapter.predict(tiny_vlm, [opened(file) for file in files])
    for max_batch, calls in ((1024, [16]), (1, [1] * 16)):
        model = Counting(tiny_vlm)
        served = serve(model, adapter=DeployedAdapter(adapter, tiny_vlm), max_batch=max_batch)
        model.calls.clear()
        hold, worker = Event(), served.service._worker
        worker.submit(Job("", "hold", whole(lambda hold=hold: hold.wait(10))))
        with ThreadPoolExecutor(16) as pool:
            users = [(served.ann, served.bob)[place % 2] for place in range(len(files))]
            answers = pool.map(classify, users, files)
            wait_for(lambda worker=worker: worker.waiting == len(files))
            hold.set()
            found = rows_of([each.json() for each in answers])
        assert np.allclose(found, expected, atol=1e-5)
        assert model.calls == calls
        text = served.client.get("/metrics").text
        assert "craft_zoo_batch_images_sum 16.0" in text
        assert 'craft_zoo_model_seconds_total{kind="classes"}' in text
        assert 'craft_zoo_predictions_total{account="ann"} 8.0' in text


def test_a_call_has_a_limited_number_of_images(serve: Serve, tiny_vlm: OpenCLIP, png: Png) -> None:
    model, deployed = Counting(tiny_vlm), DeployedAdapter(adapter_of(tiny_vlm, "craft"), tiny_vlm)
    served = serve(model, adapter=deployed, limits={"request_images": 150})
    text = base64.b64encode(png(0)).decode()
    model.calls.clear()
    assert served.ann.send("POST", "/v1/classify", json={"images": [text] * 150}).is_success
    assert model.calls == [64, 64, 22]


def test_texts_are_encoded_once(
    serve: Serve, png: Png, make_tiny: Callable[..., OpenCLIP], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = make_tiny()
    deployed = DeployedAdapter(adapter_of(vlm, "craft-anchors"), vlm)
    ann = serve(vlm, adapter=deployed).ann
    monkeypatch.setattr(vlm._model, "encode_text", None)
    monkeypatch.setattr(vlm._model, "transformer", None)
    assert classify(ann, png(0)).is_success


def test_a_model_that_takes_words_only_is_served_too(serve: Serve, png: Png) -> None:
    def ask(prompts: list[str], images: list[Any]) -> np.ndarray:
        means = np.array([[np.asarray(image).mean()] for image in images]) / 50
        return means * np.array([len(prompt) for prompt in prompts])

    vlm = from_callable(ask)
    solution = Solution("a {}", convex(2), Anchors(("tree", "sky"), ["the {}"]))
    adapter = Adapter.of(solution, vlm, vlm.classifier(NAMES))
    ann = serve(vlm, adapter=DeployedAdapter(adapter, vlm)).ann
    expected = adapter.predict(vlm, [opened(png(0))])
    assert np.allclose(rows_of([classify(ann, png(0)).json()]), expected, atol=1e-5)


def test_an_image_that_is_refused_has_no_label(
    serve: Serve, vlm: OpenCLIP, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = DeployedAdapter(adapter_of(vlm, "craft"), vlm)

    def refuse(_images: Any) -> list[np.ndarray]:
        raise RefusedError("no: ask another")

    monkeypatch.setattr(deployed, "_score", refuse)
    answer = classify(serve(adapter=deployed).ann, png(0)).json()
    assert answer["label"] is None
    np.testing.assert_allclose([answer["probability"], *rows_of([answer])[0]], 1 / 3, rtol=1e-6)


def test_a_model_behind_a_network_bills_each_image(serve: Serve, vlm: OpenCLIP, png: Png) -> None:
    far = serve()

    def forward(request: httpx.Request) -> httpx.Response:
        answer = far.client.request(
            request.method,
            request.url.path,
            params=request.url.params,
            content=request.read(),
            headers=dict(request.headers),
        )
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    transport = httpx.MockTransport(forward)
    remote = RemoteVLM("http://127.0.0.1", api_key="key-of-bob", transport=transport)
    adapter = adapter_of(remote, "craft-anchors")
    expected = adapter.predict(vlm, [opened(png(0)), opened(png(1))])
    ann = serve(remote, adapter=DeployedAdapter(adapter, remote)).ann
    text = [base64.b64encode(png(seed)).decode() for seed in range(2)]
    answer = ann.send("POST", "/v1/classify", json={"images": text}).json()
    assert np.allclose(rows_of(answer["images"]), expected, atol=1e-5)
    assert ann.usage()["predictions"] == 2
    assert far.bob.usage()["predictions"] == 2 * 3  # the classes' prompt and two of anchors


def test_what_the_model_fails_with_is_not_told(
    serve: Serve, png: Png, refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(prompts: list[str], images: list[Any]) -> list[list[float]]:
        raise ConnectionError("https://internal.example/?token=SECRET refused")

    vlm = from_callable(ask)
    adapter = Adapter.of(Solution("a {}"), vlm, vlm.classifier(NAMES))
    ann = serve(vlm, adapter=DeployedAdapter(adapter, vlm)).ann
    assert "tell its owner" in refused(classify(ann, png(0)), 500, "internal")
    assert "SECRET" in caplog.text
    assert ann.usage()["requests"] == 0


def test_a_service_that_does_not_answer_is_waited_for_once_and_clients_are_told(
    serve: Serve, png: Png, refused: Refused
) -> None:
    asked: list[int] = []
    status = 200

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        if status != 200:
            return httpx.Response(status, headers={"Retry-After": "60"})
        labels = json.loads(request.content)["parameters"]["candidate_labels"]
        return httpx.Response(200, json=[{"label": one, "score": 1 / 3} for one in labels])

    vlm = HuggingFaceVLM("https://e.example", transport=httpx.MockTransport(answer))
    adapter = Adapter.of(Solution("a {}"), vlm, vlm.classifier(NAMES))
    served = serve(vlm, adapter=DeployedAdapter(adapter, vlm))
    status = 503
    with ThreadPoolExecutor(6) as pool:
        for response in pool.map(partial(classify, served.ann), [png(seed) for seed in range(6)]):
            assert "does not answer" in refused(response, 503, "busy")
            assert response.headers["Retry-After"] == "10"
    assert len(asked) <= 6  # where a call of several clients failed, each was waited for again
    assert served.ann.usage()["requests"] == 0
    status = 200
    assert classify(served.ann, png(0)).is_success


def test_who_gave_up_is_billed_only_for_an_answer_that_can_be_asked_for_again(
    serve: Serve, listening: Any, png: Png, wait_for: Callable[..., None]
) -> None:
    goes_on = Event()

    def ask(prompts: list[str], images: list[Any]) -> np.ndarray:
        goes_on.wait(10)
        return np.zeros((len(images), len(prompts)))

    vlm = from_callable(ask)
    adapter = Adapter.of(Solution("a {}"), vlm, vlm.classifier(NAMES))
    served = serve(vlm, adapter=DeployedAdapter(adapter, vlm))
    served.client.__exit__(None, None, None)
    headers = {"Content-Type": "image/png", **served.ann.headers}
    with listening(served.client.app) as (url, _), httpx.Client(base_url=url) as client:
        for named, billed in (({}, 0), ({"Idempotency-Key": "k"}, 1)):
            goes_on.clear()
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/classify", content=png(0), headers=headers | named, timeout=0.5)
            assert served.service._answering
            goes_on.set()
            wait_for(lambda: not served.service._answering)
            usage = client.get("/v1/usage", headers=served.ann.headers).json()
            assert usage["requests"] == billed


def test_classes_of_one_name_are_refused() -> None:
    vlm = from_callable(lambda prompts, images: np.zeros((len(images), len(prompts))))
    adapter = Adapter.of(Solution("a {}"), vlm, vlm.classifier(["cat", "dog", "cat"]))
    with pytest.raises(CraftZooError, match="2 classes of the adapter are called 'cat'"):
        DeployedAdapter(adapter, vlm)


@pytest.fixture
def pets(vlm: OpenCLIP, adapter: Adapter, tmp_path: Path) -> Path:
    path = tmp_path / "pets.adapter"
    adapter.save(path)
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence with which the command ends before serving."""
    assert main(["serve", "--port", "0", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert "Serving" not in said.out
    assert said.err.count("\n") == 1
    return said.err


def test_adapters_that_cannot_be_served_are_sentences(
    pets: Path, vlm: OpenCLIP, adapter: Adapter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ("--state", tmp_path / "state")
    assert "does not exist" in fails(capsys, "--adapter", tmp_path / "nothing.adapter", *state)
    (tmp_path / "words").write_text("no adapter")
    assert "is not an adapter" in fails(capsys, "--adapter", tmp_path / "words", *state)
    changed = bytearray(pets.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed").write_bytes(changed)
    assert "does not match its checksum" in fails(capsys, "--adapter", tmp_path / "changed", *state)
    shifted = tuple(value + 1 for value in adapter.fingerprint)
    Adapter(adapter.solution, NAMES, "craft-mini", shifted).save(tmp_path / "other")
    assert "another model" in fails(capsys, "--adapter", tmp_path / "other", *state)
    address = "https://models.example.org"
    Adapter(adapter.solution, NAMES, address, adapter.fingerprint).save(tmp_path / "far")
    assert f"add --model {address}" in fails(capsys, "--adapter", tmp_path / "far", *state)
    assert "belongs to --adapter" in fails(capsys, "--with-model", *state)
    words = "add --with-model or leave --answers out"
    assert words in fails(capsys, "--adapter", pets, "--answers", "logits", *state)
    assert "at least 1" in fails(capsys, "--adapter", pets, "--top-k", "0", *state)
