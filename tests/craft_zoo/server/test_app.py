"""The server as a whole: keys, secrets, batches, logs, metrics, its schema."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import (
    DEFAULT_INIT,
    VLM,
    BlackBox,
    ImageSet,
    Prompts,
    Question,
    ServingVLM,
    WrappedBlackBox,
    serving,
)
from craft_zoo.client import from_callable
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import (
    DIGEST_HEADER,
    decode_array,
    digest,
    encode_array,
)
from craft_zoo.solution import Solution

Refused = Callable[..., str]
WaitFor = Callable[..., None]
Listening = Callable[..., Any]


class Slow(VLM):
    """craft-mini, which records each call and blocks in it until a test continues it.

    Args:
        vlm: craft-mini.
    """

    def __init__(self, vlm: VLM) -> None:
        self._vlm = vlm
        self.name, self.image_size, self.in_flight = vlm.name, vlm.image_size, vlm.in_flight
        self.calls: list[int] = []  # prompts in each
        self.handed: list[int] = []  # prompts of the call that each answer belongs to
        self.encoded: list[int] = []  # images in each
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def images(self, images: Sequence[Any], progress: Any = None, *, keep: bool = True) -> ImageSet:
        self.encoded.append(len(images))
        return self._vlm.images(images, progress, keep=keep)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        return _SlowBox(self._vlm.classifier(classnames, init), self)


class Together(Slow, ServingVLM):
    """Also records how many questions it answers together."""

    def __init__(self, vlm: VLM) -> None:
        super().__init__(vlm)
        self.together: list[int] = []

    def batching_key(self, question: Question) -> Hashable:
        return serving(self._vlm).batching_key(self._bare(question))

    def answer(self, questions: Sequence[Question]) -> list[np.ndarray]:
        self.together.append(len(questions))
        return serving(self._vlm).answer([self._bare(question) for question in questions])

    def _bare(self, question: Question) -> Question:
        assert isinstance(question.box, _SlowBox)
        return replace(question, box=question.box._box)


class _SlowBox(WrappedBlackBox):
    def __init__(self, box: BlackBox, owner: Slow) -> None:
        super().__init__(box)
        self._owner = owner

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        self._owner.calls.append(len(prompts))
        self._owner.begun.set()
        assert self._owner.go.wait(10)
        for scores in self._box.logits(prompts, images):
            self._owner.handed.append(len(prompts))
            yield scores


@pytest.fixture
def slow(vlm: OpenCLIP) -> Slow:
    return Slow(vlm)


def test_without_the_right_key_nothing_is_served(
    serve: Callable[..., Any], refused: Refused
) -> None:
    client = serve().client
    routes = [
        ("GET", "/v1/model"),
        ("GET", "/v1/usage"),
        ("POST", "/v1/image-sets"),
        ("PUT", "/v1/image-sets/x/images"),
        ("DELETE", "/v1/image-sets/x"),
        ("POST", "/v1/classifiers"),
        ("GET", "/v1/classifiers/x/initial-context"),
        ("POST", "/v1/classifiers/x/scores?images=x"),
        ("GET", "/v1"),
        ("GET", "/v1/anything"),
    ]
    wrong = ["", "Bearer ", "Bearer key-of-an", "Bearer key-of-annn", "Basic key-of-ann"]
    for method, path in routes:
        for header in wrong:
            response = client.request(method, path, headers={"Authorization": header})
            refused(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert response.headers[DIGEST_HEADER] == digest(response.content)


def test_every_route_of_the_interface_needs_a_key(serve: Callable[..., Any]) -> None:
    client = serve().client
    schema = client.get("/openapi.json").json()
    unguarded = {
        path
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
        if "security" not in route or client.request(method, path).status_code != 401
    }
    assert unguarded == {"/healthz", "/readyz", "/metrics"}


def test_no_account_sees_anothers(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Refused, wait_for: WaitFor
) -> None:
    served = serve()
    ann, bob = served.ann, served.bob
    classifier, images, context = ann.opened()
    unknown = bob.send("DELETE", "/v1/image-sets/unknown")
    stolen = bob.send("DELETE", f"/v1/image-sets/{images}")
    refused(stolen, 404, "unknown_image_set")
    assert stolen.content == unknown.content
    refused(bob.put(images, {0: png(0)}), 404, "unknown_image_set")
    path = f"/v1/classifiers/{classifier}/initial-context"
    refused(bob.send("GET", path), 404, "unknown_classifier")
    own = bob.classifier()
    assert own != classifier
    refused(bob.score(own, images, context), 404, "unknown_image_set")
    # That ann has uploaded the same image is not told.
    assert bob.announce([png(0)])["missing"] == [0]
    own_images = bob.upload([png(0)])
    assert own_images != images
    assert len(served.service.encoded) == len(served.service.opened) == 1  # shared unseen
    refused(bob.score(classifier, own_images, context), 404, "unknown_classifier")
    assert ann.send("DELETE", f"/v1/image-sets/{images}").status_code == 204
    assert bob.score(own, own_images, context).is_success
    bob.send("DELETE", f"/v1/image-sets/{own_images}")
    wait_for(lambda: len(served.service.encoded) == 0)
    assert ann.usage()["requests"] == 0


def test_nothing_but_scores_and_the_initial_context_can_be_fetched(
    serve: Callable[..., Any], png: Callable[..., bytes], vlm: OpenCLIP
) -> None:
    served = serve()
    schema = served.client.get("/openapi.json").json()
    binary = {
        path
        for path, methods in schema["paths"].items()
        for route in methods.values()
        for response in route["responses"].values()
        if "application/octet-stream" in response.get("content", {})
    }
    assert binary == {"/v1/classifiers/{id}/initial-context", "/v1/classifiers/{id}/scores"}
    fields = {
        (name, field)
        for name, model in schema["components"]["schemas"].items()
        for field, about in model.get("properties", {}).items()
        if "number" in json.dumps(about)
    }
    assert fields == {
        ("LabelScore", "score"),
        ("ModelAnswer", "limits"),
        ("PredicateAnswer", "probability"),
        ("ChoiceProbability", "probability"),
        ("ChoiceAnswer", "confidence"),
        ("LevelProbability", "probability"),
        *(("ScoreAnswer", field) for field in ("score", "confidence")),
        ("NoulAnswer", "noul"),
        *(("SystemOneChoiceAnswer", field) for field in ("confidence", "probabilities")),
        *(("SystemOneScoreAnswer", field) for field in ("score", "confidence", "probabilities")),
    }
    # Whatever the answers hold, no feature is among it.
    ann = served.ann
    classifier, images = ann.classifier(), ann.upload([png(0)])
    feature = vlm.features(served.service.image_sets.get("ann", images).encoded)
    answers = b"".join(
        [
            ann.send("GET", "/v1/model").content,
            ann.send("GET", f"/v1/classifiers/{classifier}/initial-context").content,
            ann.score(classifier, images, ["{}"]).content,
            served.client.get("/metrics").content,
        ]
    )
    assert feature.tobytes() not in answers
    assert feature[0, :2].tobytes() not in answers
    held = served.service.image_sets.get("ann", images)
    assert not any(image.is_held for image in held.images.values())  # the files are gone


def test_requests_that_wait_are_scored_in_one_call(
    serve: Callable[..., Any], slow: Slow, png: Callable[..., bytes], wait_for: WaitFor
) -> None:
    served = serve(slow)
    users = [served.ann, served.bob]
    files = [png(0), png(1)]
    places = [(user, user.classifier(), user.upload(files)) for user in users]
    context = users[0].initial_context(places[0][1])
    contexts = context + np.random.default_rng(0).normal(0, 0.02, (9, *context.shape))
    contexts = contexts.astype(np.float32)
    slow.go.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(users[0].score, *places[0][1:], contexts[:1], "k0")
        wait_for(slow.begun.is_set)
        asked = [
            pool.submit(user.score, classifier, images, contexts[at : at + 2], f"k{at}")
            for at, (user, classifier, images) in zip((1, 3, 5, 7), places * 2, strict=True)
        ]
        wait_for(lambda: served.service.admission.in_progress == 5)
        wait_for(lambda: "craft_zoo_queue_length 4.0" in served.client.get("/metrics").text)
        slow.go.set()
        answers = [decode_array(each.result().content) for each in (first, *asked)]
    assert slow.calls == [1, 8]
    alone = [slow._vlm.classifier(["cat", "dog", "red square"])]
    encoded = served.service.image_sets.get("ann", places[0][2]).encoded
    expected = np.stack(list(alone[0].logits(contexts, encoded)))
    assert np.allclose(np.concatenate(answers), expected, atol=1e-4)


def test_merging_can_be_turned_off_and_other_images_are_not_merged(
    serve: Callable[..., Any], slow: Slow, png: Callable[..., bytes], wait_for: WaitFor
) -> None:
    for given_settings, expected in (({"max_batch": 1}, [1, 1, 1, 1]), ({}, [1, 1, 2])):
        served = serve(slow, **given_settings)
        ann = served.ann
        classifier, images, other = ann.classifier(), ann.upload([png(0)]), ann.upload([png(1)])
        context = ann.initial_context(classifier)[None]
        slow.calls.clear()
        slow.begun.clear()
        slow.go.clear()
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ann.score, classifier, images, context, "first")]
            wait_for(slow.begun.is_set)
            asked += [pool.submit(ann.score, classifier, other, context, "other")]
            asked += [pool.submit(ann.score, classifier, images, context, f"{i}") for i in (1, 2)]
            wait_for(lambda served=served: served.service._worker.waiting == 3)
            slow.go.set()
            assert all(each.result().is_success for each in asked)
        assert sorted(slow.calls) == expected


def test_requests_of_different_tasks_share_a_call(
    serve: Callable[..., Any], vlm: OpenCLIP, png: Callable[..., bytes], wait_for: WaitFor
) -> None:
    """Other classes, images and accounts; contexts go with contexts, words with words."""
    model = Together(vlm)
    served = serve(model)
    tasks = []
    for number, names in enumerate((["cat", "dog"], ["a red square", "tram", "x"], ["sea"])):
        user, files = (served.ann, served.bob)[number % 2], [png(number), png(10 + number)]
        images = served.service.vlm._vlm.images([Image.open(io.BytesIO(file)) for file in files])
        tasks.append((user, user.classifier(names), user.upload(files), names, images))
    asked = []
    model.go.clear()
    with ThreadPoolExecutor(8) as pool:
        user, classifier, uploaded, *_ = tasks[0]
        first = pool.submit(user.score, classifier, uploaded, ["{}"], "first")
        wait_for(model.begun.is_set)
        for user, classifier, uploaded, names, images in tasks:
            start = vlm.classifier(names).initial_context
            noise = np.random.default_rng(0).normal(0, 0.02, (2, *start.shape))
            for prompts in ((start + noise).astype(np.float32), ["a {}", "{}"]):
                key = f"k{len(asked)}"
                expected = np.stack(list(vlm.classifier(names).logits(prompts, images)))
                asked.append(
                    (pool.submit(user.score, classifier, uploaded, prompts, key), expected)
                )
        wait_for(lambda: served.service._worker.waiting == 6)
        model.go.set()
        assert first.result().is_success
        for asking, expected in asked:
            assert np.allclose(decode_array(asking.result().content), expected, atol=1e-4)
    assert sorted(model.together) == [3, 3]


def test_a_large_request_is_done_in_parts_between_which_others_have_a_turn(
    serve: Callable[..., Any], slow: Slow, png: Callable[..., bytes], wait_for: WaitFor
) -> None:
    served = serve(slow, max_batch=2)
    ann, bob = served.ann, served.bob
    places = [(user.classifier(), user.upload([png(0)])) for user in (ann, bob)]
    contexts = np.stack([ann.initial_context(places[0][0])] * 50)
    slow.handed.clear()
    slow.go.clear()
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(ann.score, *places[0], contexts, "large")
        wait_for(slow.begun.is_set)
        small = pool.submit(bob.score, *places[1], contexts[:1] + np.float32(0.01), "small")
        wait_for(lambda: served.service._worker.waiting == 1)
        slow.go.set()
        assert decode_array(large.result().content).shape == (50, 1, 3)
        assert small.result().is_success
    assert slow.handed == [50, 1] + [50] * 49


def test_what_the_owner_alone_should_know_is_not_told(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Refused, caplog: Any
) -> None:
    def ask(prompts: list[str], images: list[Any]) -> list[list[float]]:
        raise ConnectionError("https://internal.example/?token=SECRET refused")

    served = serve(from_callable(ask))
    ann = served.ann
    response = ann.score(ann.classifier(), ann.upload([png(0)]), ["{}"])
    assert "tell its owner" in refused(response, 500, "internal")
    assert "SECRET" not in response.text
    assert "SECRET" in caplog.text
    assert ann.usage()["requests"] == 0
    assert served.client.get("/readyz").status_code == 200


def test_large_answers_are_sent_in_pieces_and_held_until_they_are_gone(
    serve: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    served = serve()
    ann, admission = served.ann, served.service.admission
    files = [png(seed) for seed in range(30)]
    classifier, images = ann.classifier([f"class {n}" for n in range(100)]), ann.upload(files)
    contexts = np.stack([ann.initial_context(classifier)] * 40)
    answer = ann.score(classifier, images, contexts, "large").content
    assert len(answer) > 4 * 30 * 100 * 40
    assert admission.held == admission.in_progress == 0
    sent: list[tuple[int, int, bool]] = []

    async def replay() -> bytes:
        request = httpx.Request(
            "POST",
            f"http://test/v1/classifiers/{classifier}/scores?images={images}",
            content=encode_array(contexts),
            headers={
                **ann.headers,
                "Idempotency-Key": "large",
                "Content-Type": "application/octet-stream",
            },
        )
        scope = {
            "type": "http",
            "method": "POST",
            "path": request.url.path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }
        body = bytearray()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.content}

        async def send(message: dict[str, Any]) -> None:
            sent.append(
                (len(message.get("body", b"")), admission.held, message.get("more_body", False))
            )
            body.extend(message.get("body", b""))

        await served.client.app(scope, receive, send)
        return bytes(body)

    assert served.client.portal.call(replay) == answer
    assert len(sent) == 3  # the head, and two pieces
    assert [more for *_, more in sent] == [False, True, False]
    assert all(held >= len(answer) for _, held, _ in sent)
    assert admission.held == admission.in_progress == 0


def test_one_bad_request_in_a_batch_harms_no_other(
    serve: Callable[..., Any], slow: Slow, refused: Refused, wait_for: WaitFor
) -> None:
    served = serve(slow)
    ann = served.ann
    classifier, images, context = ann.opened()
    slow.go.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ann.score, classifier, images, context, "first")
        wait_for(slow.begun.is_set)
        bad = pool.submit(ann.score, classifier, images, np.full_like(context, 3e38), "bad")
        good = pool.submit(served.ann.score, classifier, images, context, "good")
        wait_for(lambda: served.service._worker.waiting == 2)
        slow.go.set()
        refused(bad.result(), 422, "bad_request")
        assert good.result().content == first.result().content
    assert ann.usage()["requests"] == 2


def test_images_are_encoded_in_pieces_between_which_others_are_answered(
    serve: Callable[..., Any], slow: Slow, png: Callable[..., bytes]
) -> None:
    served = serve(slow)
    slow.encoded.clear()
    served.ann.upload([png(100 + seed) for seed in range(40)])
    assert slow.encoded == [16, 16, 8, 40]  # the last from memory


def test_a_disk_that_fails_bills_nothing_and_leaves_nobody_waiting(
    serve: Callable[..., Any], refused: Refused
) -> None:
    served = serve()
    ann = served.ann
    classifier, images, context = ann.opened()
    database = served.service.state._database
    database.execute("PRAGMA query_only = ON")  # as a full disk, writing fails
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ann.score, classifier, images, context, f"{i}") for i in range(4)]
        for each in asked:
            assert "disk" in refused(each.result(), 503, "busy")
    database.execute("PRAGMA query_only = OFF")
    assert ann.score(classifier, images, context, "1").is_success
    assert ann.usage()["requests"] == 1


def test_a_long_encoding_lets_others_ask_and_changes_no_bit(
    serve: Callable[..., Any], png: Callable[..., bytes], vlm: OpenCLIP, wait_for: WaitFor
) -> None:
    forgetful = Slow(OpenCLIP.load("craft-mini", cache=False))
    served = serve(forgetful)
    ann, bob = served.ann, served.bob
    classifier, images, context = ann.opened(2)
    expected = ann.score(classifier, images, context, "before").content
    many, answers = [png(seed) for seed in range(200, 320)], []
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(bob.upload, many)
        wait_for(lambda: 120 in forgetful.encoded)
        for number in range(3):
            answers.append(ann.score(classifier, images, context, f"{number}").content)
        in_between = not upload.done()
        upload.result()
    assert answers == [expected] * 3
    assert in_between


def test_too_many_requests_at_once_are_asked_to_come_back(
    serve: Callable[..., Any],
    slow: Slow,
    png: Callable[..., bytes],
    refused: Refused,
    wait_for: WaitFor,
) -> None:
    served = serve(slow, limits={"waiting": 3, "waiting_each": 2})
    ann, bob = served.ann, served.bob
    classifier, images, context = ann.opened()
    bobs, images_of_bob = bob.classifier(), bob.upload([png(0)])
    slow.go.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ann.score, classifier, images, context, f"{i}") for i in (1, 2)]
        wait_for(lambda: served.service.admission.in_progress == 2)
        response = ann.score(classifier, images, context, "3")
        assert "2 requests of this account" in refused(response, 503, "busy")
        assert response.headers["Retry-After"] == "1"
        asked.append(pool.submit(bob.score, bobs, images_of_bob, context, "1"))
        wait_for(lambda: served.service.admission.in_progress == 3)
        poor = served.poor.send("POST", "/v1/classifiers", json={"classnames": ["x"]})
        assert "3 requests are under way" in refused(poor, 503, "busy")
        slow.go.set()
        assert all(each.result().is_success for each in asked)
    assert ann.score(classifier, images, context, "3").is_success


def test_memory_is_bounded_over_all_requests(
    serve: Callable[..., Any], slow: Slow, refused: Refused, wait_for: WaitFor
) -> None:
    limits = {"body_bytes": 20_000, "answer_bytes": 10_000, "held_bytes": 55_000}
    served = serve(slow, limits=limits)
    ann = served.ann
    classifier, images, context = ann.opened()
    assert 12_000 < 3 * context.nbytes < 20_000
    three = np.concatenate([context] * 3)
    slow.go.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ann.score, classifier, images, three, f"{i}") for i in (1, 2)]
        wait_for(lambda: served.service.admission.held > 24_000)
        held = 0
        while held != served.service.admission.held:  # until both have all that they need
            held = served.service.admission.held
            time.sleep(0.3)
        response = ann.score(classifier, images, three, "3")
        assert "memory" in refused(response, 503, "busy")
        slow.go.set()
        assert all(each.result().is_success for each in asked)
    assert served.service.admission.held == 0


def test_each_request_is_a_line_in_the_log_without_secrets(
    serve: Callable[..., Any], png: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()
    ann = served.ann
    classifier, images = ann.classifier(["secret class"]), ann.upload([png(0)])
    caplog.clear()
    with caplog.at_level(logging.INFO, "craft_zoo.server"):
        ann.score(classifier, images, ["my secret {}"], "k")
        served.client.get("/v1/secret", headers={"Authorization": "Bearer wrong-secret"})
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    path = "/v1/classifiers/{id}/scores"
    assert [(each["account"], each["path"], each["status"]) for each in lines] == [
        ("ann", path, 200),
        (None, "unknown", 401),
    ]
    assert lines[0]["predictions"] == 1
    assert lines[0]["method"] == "POST"
    assert lines[0]["milliseconds"] > 0
    assert "secret" not in caplog.text
    assert "key-of" not in caplog.text
    assert classifier not in caplog.text


def test_numbers_for_prometheus(serve: Callable[..., Any]) -> None:
    served = serve()
    ann = served.ann
    classifier, images, context = ann.opened(2)
    ann.score(classifier, images, context, "k")
    ann.score(classifier, images, context, "k")
    ann.send("GET", "/v1/nothing")
    text = served.client.get("/metrics").text
    for line in (
        'craft_zoo_requests_total{method="POST",path="/v1/classifiers/{id}/scores",status="200"}'
        " 2.0",
        'craft_zoo_requests_total{method="GET",path="unknown",status="404"} 1.0',
        'craft_zoo_predictions_total{account="ann"} 2.0',
        "craft_zoo_batch_texts_sum 3.0",
        "craft_zoo_queue_length 0.0",
    ):
        assert line in text.splitlines()
    assert 'craft_zoo_model_seconds_total{kind="scores"}' in text
    assert images not in text


def test_while_it_is_stopped_what_is_under_way_is_answered_and_nothing_new_begun(
    serve: Callable[..., Any], slow: Slow, refused: Refused, wait_for: WaitFor
) -> None:
    served = serve(slow)
    ann = served.ann
    classifier, images, context = ann.opened()
    assert served.client.get("/readyz").json() == {"status": "ready"}
    slow.go.clear()
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(ann.score, classifier, images, context, "k")
        wait_for(slow.begun.is_set)
        served.service.close()
        response = ann.score(classifier, images, context, "l")
        refused(response, 503, "busy")
        assert int(response.headers["Retry-After"]) > 0
        assert served.client.get("/readyz").status_code == 503
        assert served.client.get("/healthz").status_code == 200
        slow.go.set()
        assert asked.result().is_success
    assert served.service.state.usage("ann").requests == 1


def test_a_real_server_is_stopped_by_a_signal_gracefully(
    serve: Callable[..., Any], slow: Slow, tmp_path: Any, wait_for: WaitFor, listening: Listening
) -> None:
    import signal

    served = serve(slow, state=tmp_path)
    served.client.__exit__(None, None, None)
    with listening(served.client.app) as (url, server), httpx.Client(base_url=url) as client:
        ann = type(served.ann)(client, "key-of-ann")
        classifier, images, context = ann.opened(2)
        slow.begun.clear()
        slow.go.clear()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ann.score, classifier, images, context, "k")
            wait_for(slow.begun.is_set)
            server.handle_exit(signal.SIGTERM, None)
            time.sleep(0.3)
            assert not asked.done()
            slow.go.set()
            answer = asked.result().content
    again = serve(state=tmp_path).ann  # the answer was recorded before it was sent
    assert again.score(classifier, images, context, "k").content == answer
    assert again.usage()["predictions"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_nothing_that_the_schema_tells_of_makes_the_server_fail(
    serve: Callable[..., Any],
    png: Callable[..., bytes],
    vlm: OpenCLIP,
    mode: str,
    listening: Listening,
) -> None:
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    ]
    adapter = Adapter.of(Solution("a {}"), vlm, vlm.classifier(["cat", "dog"]))
    deployed = DeployedAdapter(adapter, vlm)
    served = serve(limits={"requests_per_second": 10**6}, adapter=deployed, with_model=True)
    served.client.__exit__(None, None, None)
    statuses: Counter[int] = Counter()
    with listening(served.client.app) as (url, _), httpx.Client(base_url=url) as client:
        ann = type(served.ann)(client, "key-of-ann")
        ids = {"image-sets": ann.upload([png(0)]), "classifiers": ann.classifier()}
        for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
            operation = result.ok()
            known = next((id for kind, id in ids.items() if kind in operation.path), "x")
            cases = operation.as_strategy(
                GenerationMode(mode),
                path_parameters={"id": known} if "{id}" in operation.path else None,
            )

            @settings(
                max_examples=50,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(cases)
            def check(case: Any) -> None:
                response = case.call(headers=ann.headers)
                statuses[response.status_code] += 1
                allowed = checks if response.status_code not in (400, 404, 405) else checks[:1]
                case.validate_response(response, checks=allowed)

            with suppress(Unsatisfiable):  # nothing negative can be said of some
                check()
        assert client.get("/readyz").status_code == 200
    assert statuses.total() > 100
    assert max(statuses) < 500
    assert len(statuses) > 3
