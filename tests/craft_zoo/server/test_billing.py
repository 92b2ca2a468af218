"""Each question is answered once and billed once."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import BILLED_HEADER
from craft_zoo.server import Account
from craft_zoo.server.billing import (
    Bill,
    Entry,
    Recorded,
    State,
    Used,
)
from craft_zoo.server.errors import Refusal
from craft_zoo.server.worker import Job, whole


def test_a_question_that_is_sent_again_is_billed_once_even_by_a_new_server(
    serve: Callable[..., Any], png: Callable[..., bytes], tmp_path: Path, refused: Any
) -> None:
    served = serve(state=tmp_path)
    ann = served.ann
    classifier, images = ann.classifier(), ann.upload([png(0), png(1)])
    context = ann.initial_context(classifier)
    first = ann.score(classifier, images, context[None], key="one")
    again = ann.score(classifier, images, context[None], key="one")
    assert again.content == first.content
    assert again.headers[BILLED_HEADER] == first.headers[BILLED_HEADER] == "2"
    other = ann.score(classifier, images, context[None] + 1e-3, key="one")
    refused(other, 409, "conflict")
    ann.score(classifier, images, context[None], key="two")
    bill = {"predictions": 4, "scores": 12, "requests": 2, "quota": None, "remaining": None}
    assert ann.usage() == bill
    assert served.bob.usage()["predictions"] == 0
    # Keys are an account's own.
    bobs, images_of_bob = served.bob.classifier(), served.bob.upload([png(0), png(1)])
    assert served.bob.score(bobs, images_of_bob, context[None] + 1e-3, key="one").is_success
    served.client.__exit__(None, None, None)
    ann = serve(state=tmp_path).ann
    assert ann.score(classifier, images, context[None], key="one").content == first.content
    assert ann.usage() == bill
    refused(ann.score(classifier, images, context[None], key="new"), 404, "unknown_classifier")
    assert ann.usage() == bill


def test_requests_of_one_key_at_once_are_computed_once(serve: Callable[..., Any]) -> None:
    served = serve()
    ann = served.ann
    classifier, images, context = ann.opened()
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: ann.score(classifier, images, context, key="k").content, range(6))
        )
    assert len(set(answers)) == 1
    assert ann.usage()["predictions"] == 1
    assert "craft_zoo_batch_requests_count 1.0" in served.client.get("/metrics").text


def test_an_answer_is_not_sent_again_once_something_else_is_served(
    serve: Callable[..., Any], png: Callable[..., bytes], tmp_path: Path, refused: Any
) -> None:
    served = serve(state=tmp_path)
    ann = served.ann
    classifier, images = ann.classifier(), ann.upload([png(0)])
    assert ann.score(classifier, images, ["{}"], key="one").is_success
    served.client.__exit__(None, None, None)
    ann = serve(state=tmp_path, answers="log_probabilities").ann
    refused(ann.score(ann.classifier(), ann.upload([png(0)]), ["{}"], key="one"), 409, "conflict")


def test_a_server_that_ends_bills_nobody_whom_it_does_not_answer(
    serve: Callable[..., Any], png: Callable[..., bytes], tmp_path: Path
) -> None:
    served = serve(state=tmp_path)
    ann, service = served.ann, served.service
    classifier, images = ann.classifier(), ann.upload([png(0)])
    hold = threading.Event()
    service._worker.submit(Job("", "hold", whole(lambda: hold.wait(10))))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ann.score, classifier, images, ["{}"], f"k{i}") for i in range(3)]
        while service._worker.waiting < 3:
            pass
        stopping = served.client.portal.start_task_soon(service.stop)
        while not service._is_ending:
            pass
        hold.set()
        stopping.result(10)
        assert [each.result().status_code for each in asked] == [503] * 3
    served.client.portal.call(service.start)
    assert ann.usage()["requests"] == 0


def test_what_was_refused_is_not_billed_and_may_be_asked_again_under_its_key(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Any
) -> None:
    ann = serve().ann
    classifier = ann.classifier()
    context = ann.initial_context(classifier)[None]
    refused(ann.score(classifier, "nowhere", context, key="k"), 404, "unknown_image_set")
    id = ann.announce([png(0), png(1)])["id"]
    sentence = refused(ann.score(classifier, id, context, key="l"), 404, "unknown_image_set")
    assert "2 images of the set are missing" in sentence
    ann.upload([png(0), png(1)])
    assert ann.score(classifier, id, context, key="l").is_success
    assert ann.usage()["requests"] == 1


def test_the_quota_is_kept(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Any
) -> None:
    served = serve()
    poor = served.poor
    classifier, images = poor.classifier(), poor.upload([png(0), png(1), png(2)])
    context = poor.initial_context(classifier)
    assert poor.score(classifier, images, np.stack([context] * 3)).is_success
    sentence = refused(poor.score(classifier, images, context[None]), 402, "quota_exceeded")
    assert "quota of 10 (9 made)" in sentence
    assert "craft_zoo_batch_requests_count 1.0" in served.client.get("/metrics").text
    assert poor.usage() == {
        "predictions": 9,
        "scores": 27,
        "requests": 1,
        "quota": 10,
        "remaining": 1,
    }


def test_requests_at_once_cannot_exceed_the_quota_together(serve: Callable[..., Any]) -> None:
    poor = serve().poor
    classifier, images, context = poor.opened(3)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: poor.score(classifier, images, context), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [402] * 3
    assert poor.usage()["predictions"] == 9


ANN = Account("ann", "", quota=10_000)


def record(
    state: State, key: str, body: bytes = b"x", predictions: int = 1, digest: bytes = b""
) -> Recorded:
    (outcome,) = state.record([Entry(ANN, key, digest, Bill(predictions, 1), body)])
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


def body_of(state: State, key: str) -> bytes | None:
    found, _ = state.find("ann", key, b"")
    assert found
    return found.body


def test_recording_checks_the_quota_and_the_key_itself() -> None:
    state = State(None, 100)
    record(state, "a", predictions=9990)
    with pytest.raises(Refusal, match="quota"):
        record(state, "b", predictions=11)
    assert state.find("ann", "b", b"")[0] is None
    assert record(state, "a", b"other", predictions=9990).body == b"x"
    with pytest.raises(Refusal, match="another request"):
        record(state, "a", digest=b"2")
    assert (state.usage("ann").predictions, state.usage("ann").requests) == (9990, 1)


def test_of_requests_that_are_recorded_together_each_has_its_own_outcome() -> None:
    state = State(None, 100)
    record(state, "known", b"first")
    entries = [
        Entry(ANN, key, digest, Bill(predictions, 1), b"y")
        for key, digest, predictions in (
            ("known", b"", 1),
            ("known", b"other", 1),
            ("new", b"", 9000),
            ("much", b"", 9000),
            ("new", b"", 9000),
        )
    ]
    outcomes = state.record(entries)
    codes = [each.code if isinstance(each, Refusal) else each.body for each in outcomes]
    assert codes == [b"first", "conflict", b"y", "quota_exceeded", b"y"]
    assert state.usage("ann") == Used(9001, 2, 2)


def test_the_oldest_answers_go_and_the_bill_stays() -> None:
    state = State(None, 100)
    for number in range(10):
        record(state, str(number), bytes(30))
    assert [body_of(state, str(number)) for number in range(10)] == [None] * 7 + [bytes(30)] * 3
    assert state.usage("ann").predictions == 10
    record(state, "0", bytes(31))  # computed again, not billed again
    assert state.usage("ann").predictions == 10
    assert body_of(state, "0") == bytes(31)
    record(state, "large", bytes(1000))
    assert body_of(state, "large") == bytes(1000)
    assert body_of(state, "9") is None


def test_an_answer_that_is_stored_no_longer_is_computed_again_unbilled(
    serve: Callable[..., Any],
) -> None:
    ann = serve(limits={"stored_bytes": 1}).ann
    classifier, images, context = ann.opened()
    first = ann.score(classifier, images, context, key="a")
    ann.score(classifier, images, context, key="b")
    again = ann.score(classifier, images, context, key="a")
    assert again.content == first.content
    assert ann.usage()["predictions"] == 2


def test_one_server_alone_uses_a_folder(tmp_path: Path) -> None:
    state = State(tmp_path, 100)
    with pytest.raises(CraftZooError, match="another server"):
        State(tmp_path, 100)
    state.close()
    State(tmp_path, 100).close()
    with pytest.raises(CraftZooError, match="cannot be used"):
        State(Path("/proc/nowhere"), 100)


def record_until_killed(folder: Path, first: int, wanted: int) -> int:
    """Record in another process that is killed meanwhile; returns the last reported record."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # only SQLite runs here, so that a copy of this process will do
        state = State(folder, 3000)
        for number in range(first, 10**9):
            state.record([Entry(ANN, str(number), b"", Bill(2, 6), bytes(1000))])
            os.write(write, f"{number}\n".encode())
    os.close(write)
    last = -1
    with os.fdopen(read) as lines:
        for line in lines:
            last = int(line)
            if last == wanted:
                os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return last


def test_whatever_was_recorded_survives_kill_9(tmp_path: Path) -> None:
    recorded = -1
    for more in (3, 17, 1, 9, 30):
        recorded = record_until_killed(tmp_path, recorded + 1, recorded + more)
        state = State(tmp_path, 3000)
        used = state.usage("ann")
        assert used.requests in (recorded + 1, recorded + 2)  # one may not have been printed
        assert used.predictions == 2 * used.requests
        assert state.find("ann", str(recorded), b"") is not None
        recorded = used.requests - 1
        state.close()
    with sqlite3.connect(tmp_path / "serve-1.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (stored,) = database.execute("SELECT stored FROM usage").fetchone()
        assert database.execute("SELECT SUM(size) FROM answers").fetchone() == (stored,)
