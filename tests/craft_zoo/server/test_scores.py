"""Responses over the network equal those of the model itself."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.blackbox import BlackBox, ImageSet
from craft_zoo.client.callables import from_callable
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import BILLED_HEADER, decode_array
from craft_zoo.server.returned_scores import log_probabilities, scores_to_return
from craft_zoo.server.worker import Job, whole

CLASSNAMES = ["cat", "dog", "red square"]


@pytest.fixture(scope="module")
def files(png: Callable[..., bytes]) -> list[bytes]:
    return [png(seed) for seed in range(7)]


@pytest.fixture(scope="module")
def local(vlm: OpenCLIP, files: list[bytes], tmp_path_factory: Any) -> tuple[BlackBox, ImageSet]:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{place}.png" for place in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file)
    return vlm.classifier(CLASSNAMES), vlm.images(paths)


def contexts_near(box: BlackBox, *shape: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.02, (*shape, *box.initial_context.shape))
    return (box.initial_context + noise).astype(np.float32)


def prompts_of(box: BlackBox, kind: str) -> Any:
    if kind == "contexts":
        return contexts_near(box, 5)
    if kind == "own contexts":
        return contexts_near(box, 4, len(CLASSNAMES))
    return ["a photo of a {}.", "{}", ("a {}.", "the {}!", "one {}")]


@pytest.mark.parametrize("kind", ["contexts", "own contexts", "templates"])
def test_scores_are_the_local_models_to_the_last_bit(
    serve: Callable[..., Any], files: list[bytes], local: tuple[BlackBox, ImageSet], kind: str
) -> None:
    box, images = local
    prompts = prompts_of(box, kind)
    expected = np.stack(list(box.logits(prompts, images)))
    ann = serve().ann
    classifier = ann.classifier()
    assert np.array_equal(ann.initial_context(classifier), box.initial_context)
    response = ann.score(classifier, ann.upload(files), prompts)
    assert response.headers[BILLED_HEADER] == str(len(prompts) * len(files))
    answer = decode_array(response.content)
    assert answer.shape == (len(prompts), len(files), len(CLASSNAMES))
    assert np.array_equal(answer, expected)


def test_a_model_that_remembers_no_images_answers_alike(
    serve: Callable[..., Any],
    files: list[bytes],
    local: tuple[BlackBox, ImageSet],
    make_tiny: Callable[..., OpenCLIP],
) -> None:
    box, images = local
    served = serve(make_tiny())
    assert not served.service.remembers
    contexts = contexts_near(box, 3)
    id = served.ann.announce(files)["id"]
    assert served.ann.put(id, dict(enumerate(files[:5]))).json() == {"missing": [5, 6]}
    assert served.ann.put(id, {5: files[5], 6: files[6]}).json() == {"missing": []}
    answer = decode_array(served.ann.score(served.ann.classifier(), id, contexts).content)
    assert np.array_equal(answer, np.stack(list(box.logits(contexts, images))))


def test_the_model_and_its_classifiers_describe_themselves(serve: Callable[..., Any]) -> None:
    served = serve(limits={"contexts": 30})
    about = served.ann.send("GET", "/v1/model").json()
    assert about.pop("limits")["contexts"] == 30
    assert about == {
        "name": "tiny",
        "image_size": served.service.vlm.image_size,
        "in_flight": 30,
        "accepts": ["contexts", "texts"],
        "answers": "logits",
        "top_k": None,
        **served.service.vlm.description(),
    }
    assert len(about["fingerprint"]) == 32
    body = {"classnames": CLASSNAMES, "init": "a blurry {}, a toy."}
    opened = served.ann.send("POST", "/v1/classifiers", json=body).json()
    assert opened["template"] == "a blurry {}, a toy."
    assert opened["classnames"] == CLASSNAMES
    assert opened["shape"] == [2, served.ann.initial_context(opened["id"]).shape[1]]
    assert served.ann.send("POST", "/v1/classifiers", json=body).json() == opened


def test_log_probabilities_and_the_best_k(
    serve: Callable[..., Any], files: list[bytes], local: tuple[BlackBox, ImageSet]
) -> None:
    box, images = local
    contexts = contexts_near(box, 2)
    logits = np.stack(list(box.logits(contexts, images))).astype(np.float64)
    ann = serve(answers="log_probabilities").ann
    answer = decode_array(ann.score(ann.classifier(), ann.upload(files), contexts).content)
    assert np.allclose(np.exp(answer).sum(-1), 1)
    assert np.allclose(answer - answer[..., :1], logits - logits[..., :1], atol=1e-5)
    ann = serve(answers="log_probabilities", top_k=1).ann
    best = decode_array(ann.score(ann.classifier(), ann.upload(files), contexts).content)
    assert np.array_equal(best.argmax(-1), logits.argmax(-1))
    assert np.array_equal(best.max(-1), answer.max(-1))
    others = np.sort(best, -1)[..., :-1]
    assert np.allclose(others, best.max(-1)[..., None] - np.log(3))
    with pytest.raises(CraftZooError, match="log-probabilities"):
        serve(top_k=1)


def test_what_is_not_among_the_best_k_leaves_no_trace() -> None:
    rows = np.array([[5, 4, 1, 3], [5, 4, 3, 1], [2, 2, 2, 2]], np.float32)
    answer = scores_to_return(rows, "logits", 2)
    assert np.array_equal(answer[0], answer[1])
    assert np.array_equal(answer[2] == 2, [True, True, False, False])  # two, even among equals
    assert np.array_equal(scores_to_return(rows, "logits", 4), rows)
    assert np.isfinite(scores_to_return(np.float32([[3e38, -3e38]]), "log_probabilities", 1)).all()


def test_a_callable_is_served_too(serve: Callable[..., Any], files: list[bytes]) -> None:
    def ask(prompts: list[str], images: list[Any]) -> list[list[float]]:
        return [[len(prompt) + image.width for prompt in prompts] for image in images]

    ann = serve(from_callable(ask)).ann
    assert ann.send("GET", "/v1/model").json()["accepts"] == ["texts"]
    classifier = ann.classifier()
    assert ann.initial_context(classifier).shape == (0, 0)
    response = ann.score(classifier, ann.upload(files), ["{}", "a {}"])
    expected = [[[24 + add + len(name) for name in CLASSNAMES]] * 7 for add in (0, 2)]
    assert np.array_equal(decode_array(response.content), np.float32(expected))
    assert ann.score(classifier, ann.upload(files), np.zeros((1, 0, 0))).status_code == 400


def test_hugging_faces_task(
    serve: Callable[..., Any], files: list[bytes], vlm: OpenCLIP, png: Callable[..., bytes]
) -> None:
    image = Image.open(io.BytesIO(files[0]))
    box = vlm.classifier(CLASSNAMES)
    logits = box.score("This is a photo of {}.", vlm.images([image])).astype(np.float64)[0]
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    ann = serve().ann
    body = {
        "inputs": base64.b64encode(files[0]).decode(),
        "parameters": {"candidate_labels": CLASSNAMES},
    }
    response = ann.send("POST", "/hf/zero-shot-image-classification", json=body)
    answer = response.json()
    assert [each["label"] for each in answer] == [CLASSNAMES[i] for i in np.argsort(-expected)]
    assert np.allclose([each["score"] for each in answer], -np.sort(-expected), atol=1e-6)
    assert ann.usage()["predictions"] == 1
    body["parameters"]["hypothesis_template"] = "no place"  # type: ignore[index]
    response = ann.send("POST", "/hf/zero-shot-image-classification", json=body)
    assert response.status_code == 422
    assert "must hold {}" in response.json()["error"]
    body["inputs"] = "https://example.org/cat.png"
    body["parameters"] = {"candidate_labels": CLASSNAMES}
    response = ann.send("POST", "/hf/zero-shot-image-classification", json=body)
    assert "no image in base 64" in response.json()["error"]
    assert ann.usage()["requests"] == 1
    assert ann.client.post("/hf/zero-shot-image-classification", json=body).status_code == 401


def test_tasks_that_wait_are_answered_in_one_call_and_stored_only_by_name(
    serve: Callable[..., Any], vlm: OpenCLIP, files: list[bytes]
) -> None:
    served = serve()
    ann, service = served.ann, served.service
    known = [ann.classifier([f"class {n}"]) for n in range(service.settings.limits.classifiers)]

    def body(file: bytes) -> dict[str, Any]:
        labels = {"candidate_labels": CLASSNAMES}
        return {"inputs": base64.b64encode(file).decode(), "parameters": labels}

    def ask(user: Any, file: bytes, **headers: str) -> dict[str, float]:
        path = "/hf/zero-shot-image-classification"
        response = user.send("POST", path, json=body(file), headers=headers)
        return {each["label"]: each["score"] for each in response.json()}

    ask(ann, files[0])  # opens the labels
    hold = threading.Event()
    service._worker.submit(Job("", "hold", whole(lambda: hold.wait(10))))
    with ThreadPoolExecutor(7) as pool:
        users = [ann, served.bob]
        asked = [pool.submit(ask, users[n % 2], file) for n, file in enumerate(files)]
        # Bob's first waits for his labels to be opened.
        while service._worker.waiting < len(files):
            pass
        hold.set()
        answers = [each.result() for each in asked]
    box, images = vlm.classifier(CLASSNAMES), [Image.open(io.BytesIO(file)) for file in files]
    expected = np.exp(log_probabilities(box.score("This is a photo of {}.", vlm.images(images))))
    got = np.array([[answer[name] for name in CLASSNAMES] for answer in answers])
    assert np.allclose(got, expected, atol=1e-6)
    calls = served.client.get("/metrics").text
    assert "craft_zoo_batch_requests_sum 8.0" in calls
    assert float(calls.split("craft_zoo_batch_requests_count ")[1].split()[0]) < 6
    stored = service.state._database.execute("SELECT count(*) FROM answers").fetchone()
    assert stored == (0,)
    assert ask(ann, files[0], **{"Idempotency-Key": "k"}) == ask(
        ann, files[0], **{"Idempotency-Key": "k"}
    )
    assert ann.usage()["requests"] + served.bob.usage()["requests"] == 9
    assert all(service.classifiers.find("ann", id) for id in known)
