"""Limits on the memory of accounts and requests, so that no account blocks the others."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from starlette.requests import Request

from craft_zoo.blackbox import DEFAULT_INIT
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import ErrorCode, encode_files
from craft_zoo.protocol.files import decode_files
from craft_zoo.server import Limits
from craft_zoo.server.admission import Admission
from craft_zoo.server.bodies import parse, read_body
from craft_zoo.server.caches import AccountCache, AccountImages
from craft_zoo.server.errors import Refusal
from craft_zoo.server.returned_scores import log_probabilities, scores_to_return
from craft_zoo.server.schemas import (
    Announcement,
    Opening,
    TaskRequest,
    Templates,
)
from craft_zoo.server.uploads import UploadedImage

Refused = Callable[..., str]
NoMoreThan = Callable[..., AbstractContextManager[None]]

MEGABYTE = 2**20


def peak(work: Callable[[], object]) -> int:
    """Peak growth, in bytes, of memory that Python allocates."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(start: bytes, part: bytes, end: bytes, size: int = 16 * MEGABYTE) -> bytes:
    return start + part * ((size - len(start) - len(end)) // len(part)) + end


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (Templates, filled(b'{"templates":[', b"0,", b"0]}")),
        (Templates, filled(b'{"templates":[[', b"0,", b"0]]}")),
        (Templates, filled(b'{"templates":[', b"[],", b"0]}")),
        (Templates, filled(b'{"templates":[', b"[0],", b"0]}")),
        (Templates, filled(b'{"templates":[', b'"",', b'""]}')),
        (Templates, filled(b'{"templates":["{}"],"x":[', b"{},", b"0]}")),
        (Templates, b"{" + b",".join(b'"%d":0' % n for n in range(10**6)) + b"}"),
        (Templates, filled(b"", b"[", b"")),
        (Templates, filled(b'{"templates":["', b"\\", b"")),
        (Announcement, filled(b'{"images":[', b"0,", b"0]}")),
        (Opening, filled(b'{"classnames":[', b"null,", b"0]}")),
        (TaskRequest, filled(b'{"inputs":"","parameters":{"candidate_labels":[', b"0,", b"0]}}")),
        (TaskRequest, filled(b'{"inputs":[', b"0,", b"0]}")),
    ],
)
def test_json_does_not_become_much_more_than_it_is(
    model: type[BaseModel], body: bytes, no_more_than: NoMoreThan
) -> None:
    with no_more_than(40), pytest.raises(Refusal) as refused:
        parse(model, body)
    assert refused.value.status in (413, 422)
    assert "\n" not in refused.value.message


def test_of_many_wrong_values_the_first_is_told(no_more_than: NoMoreThan) -> None:
    for body, place in (
        ([0] * 50_000, "templates.0"),
        (["{}"] * 1000 + [0] * 50_000, "templates.1000"),
        ([["{}"] * 9 + [0] * 50_000], "templates.0"),
    ):
        with no_more_than(30), pytest.raises(Refusal, match=place):
            parse(Templates, json.dumps({"templates": body}).encode())
    names = {"classnames": ["cat", *[0] * 50_000]}
    with no_more_than(30), pytest.raises(Refusal, match=r"classnames\.1: Input should be"):
        parse(Opening, json.dumps(names).encode())


def test_values_are_counted_and_signs_in_strings_are_not() -> None:
    admission = Admission(Limits())
    with admission.enter("ann") as load:
        parse(Templates, json.dumps({"templates": ['a "{}", [[{,,:: \\'] * 1000}).encode(), load)
        few = load.bytes
        assert 50_000 < few < 200_000
        images = {"images": ["0" * 64] * 100_000}
        with pytest.raises(Refusal, match="more than 65,536 values"):
            parse(Announcement, json.dumps(images).encode(), load)
        assert load.bytes == few
        parse(Announcement, json.dumps(images).encode(), load, values=100_000)
        assert load.bytes > 10**6
    assert admission.held == 0


def test_a_task_without_a_template_of_its_own_has_the_default() -> None:
    about: dict[str, Any] = {"candidate_labels": ["cat"]}
    for template in ({}, {"hypothesis_template": None}):
        body = json.dumps({"inputs": "", "parameters": about | template}).encode()
        assert parse(TaskRequest, body).parameters.hypothesis_template == "This is a photo of {}."


def a_request(pieces: list[bytes]) -> Request:
    left = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(left, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return Request({"type": "http", "headers": []}, receive)


def test_a_body_is_in_memory_once() -> None:
    piece, admission = bytes(2**16), Admission(Limits())
    pieces = [piece] * 512
    with admission.enter("ann") as load:

        async def read() -> int:  # asyncio.run would write a body itself out in full
            return len(await read_body(a_request(pieces), load, Limits(), most=2**26))

        assert peak(lambda: asyncio.run(read())) < 1.3 * 32 * MEGABYTE
        assert load.bytes == admission.held == 32 * MEGABYTE
        assert load.has_slot


def test_files_of_a_body_are_copied_once() -> None:
    body = encode_files({place: bytes([place]) * MEGABYTE for place in range(20)})
    assert peak(lambda: decode_files(body)) < 22 * MEGABYTE
    assert decode_files(body)[7] == bytes([7]) * MEGABYTE


@pytest.mark.parametrize("top_k", [None, 1, 5])
@pytest.mark.parametrize("shape", [(30, 100, 1000), (3, 10**6, 1), (1, 3, 10**6)])
def test_an_answer_is_written_in_its_own_room(shape: tuple[int, ...], top_k: int | None) -> None:
    logits = np.random.default_rng(0).normal(0, 10, shape).astype(np.float32)
    most = logits.nbytes + 40 * max(2**17, shape[-1])
    assert peak(lambda: scores_to_return(logits, "log_probabilities", top_k)) < most


def test_pieces_of_an_answer_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    for shape in ((2, 300, 1000), (4, 5), (1, 2, 200_000)):
        for given in (rng.normal(0, 9, shape), rng.integers(0, 4, shape)):
            logits = given.astype(np.float32)
            scores = log_probabilities(logits)
            assert np.array_equal(scores_to_return(logits, "log_probabilities", None), scores)
            for k in (1, 2, 3):
                order = np.argsort(-scores, axis=-1, kind="stable")
                answer = scores_to_return(logits, "log_probabilities", k)
                best = np.take_along_axis(scores, order[..., :k], axis=-1)
                assert np.array_equal(np.take_along_axis(answer, order[..., :k], axis=-1), best)
                others = np.take_along_axis(answer, order[..., k:], axis=-1)
                floor = best[..., -1:] - np.float32(np.log(shape[-1]))
                assert np.array_equal(others, np.broadcast_to(floor, others.shape))


def test_bodies_that_come_slowly_take_nobodys_place() -> None:
    admission = Admission(Limits(waiting=4, waiting_each=3))
    with ExitStack() as stack:
        for account in "abc":  # 9 bodies are coming in
            for _ in range(3):
                stack.enter_context(admission.enter(account))
            with pytest.raises(Refusal, match="3 requests of this account"):
                stack.enter_context(admission.enter(account))
        loads = [stack.enter_context(admission.enter(account)) for account in "deffg"]
        for load in loads[:4]:
            load.take_slot()
        with pytest.raises(Refusal, match="4 requests are under way"):
            loads[4].take_slot()
        with pytest.raises(Refusal, match="4 requests are under way"):
            stack.enter_context(admission.enter("h"))
        assert admission.in_progress == 14
    assert admission.in_progress == admission.held == 0
    with admission.enter("h") as load:
        load.take_slot()
        load.take_slot()  # which it has done already


def test_an_account_has_a_share_of_the_memory() -> None:
    limits = Limits(held_bytes=10_000, body_bytes=1000, answer_bytes=1000)
    admission = Admission(limits)
    with (
        admission.enter("ann") as first,
        admission.enter("ann") as second,
        admission.enter("bob") as bob,
    ):
        first.add(3000)
        with pytest.raises(Refusal, match="the account's share"):
            second.add(2001)
        second.add(2000)
        bob.add(4000)
        with (
            admission.enter("carl") as carl,
            pytest.raises(Refusal, match="server's memory is in use"),
        ):
            carl.add(1001)
        with pytest.raises(Refusal, match="more than 5,000 bytes") as refused:
            bob.add(1001)
        assert refused.value.code == ErrorCode.TOO_LARGE  # waiting would not help
    assert admission.held == 0
    assert Limits(held_bytes=3000, body_bytes=1000, answer_bytes=1000).held_each == 3000


def test_caches_have_room_for_so_many_bytes() -> None:
    cache: AccountCache[AccountImages] = AccountCache(
        4, ErrorCode.UNKNOWN_IMAGE_SET, "there is none", room=100
    )

    def put(account: str, name: str, size: int) -> None:
        cache.put(account, name, AccountImages(()))
        cache.get(account, name).kept_bytes = size
        cache.make_room(account)

    for name in "abc":
        put("ann", name, 30)
    put("bob", "a", 100)
    cache.find("ann", "a")
    put("ann", "d", 40)
    assert [cache.find("ann", name) is not None for name in "abcd"] == [True, False, True, True]
    cache.get("ann", "d").kept_bytes += 20
    cache.make_room("ann")
    assert [cache.find("ann", name) is not None for name in "acd"] == [False, True, True]
    put("ann", "e", 1000)  # one alone may be as large as it is
    assert len(cache.all_of("ann")) == 1
    assert cache.find("bob", "a") is not None


def test_sets_and_classifiers_that_are_too_large_push_out_others(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Refused
) -> None:
    measured = serve()
    id = measured.ann.classifier(["a", "b"])
    room = int(2.5 * measured.service.classifiers.get("ann", id).size)  # two classifiers
    images_that_fill_it = room // 2**12
    ann = serve(limits={"opened_bytes": room}).ann
    context = ann.initial_context(ann.classifier())[None]
    first, second = ann.classifier(["a", "b"]), ann.classifier(["c", "d"])
    images = ann.upload([png(0)])
    assert ann.score(first, images, context).is_success
    third = ann.classifier(["e", "f"])
    assert ann.score(first, images, context).is_success
    refused(ann.score(second, images, context), 404, "unknown_classifier")
    files = [b"%d" % number for number in range(images_that_fill_it)]
    many = ann.announce(files)["id"]
    refused(ann.score(third, images, context), 404, "unknown_image_set")
    assert len(ann.announce(files)["missing"]) == images_that_fill_it
    assert ann.send("DELETE", f"/v1/image-sets/{many}").status_code == 204


def test_new_class_names_are_limited_in_their_pace(
    serve: Callable[..., Any], refused: Refused
) -> None:
    now = [0.0]
    limits = {"classes": 10, "names_per_second": 2}
    served = serve(limits=limits, clock=lambda: now[0])
    for first in (0, 10):  # two label sets at once
        served.ann.classifier([f"thing {number}" for number in range(first, first + 10)])
    served.ann.classifier([f"thing {number}" for number in range(10)])  # open already
    more = {"classnames": ["a", "b", "c"]}
    answer = served.ann.send("POST", "/v1/classifiers", json=more)
    assert "too many new class names: wait 2 s and send at most 2 a second" in refused(
        answer, 429, "rate_limited"
    )
    assert answer.headers["Retry-After"] == "2"
    served.bob.classifier(["a", "b", "c"])
    now[0] = 2.0
    served.ann.classifier(["a", "b", "c"])


def test_images_beyond_the_limit_are_not_kept_in_the_models_cache(
    vlm: OpenCLIP, serve: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    kept: list[tuple[int, bool]] = []
    model = copy.copy(vlm)

    def images(sources: Any, progress: Any = None, *, keep: bool = True) -> Any:
        kept.append((len(sources), keep))
        return OpenCLIP.images(model, sources, progress, keep=keep)

    model.images = images  # type: ignore[method-assign]
    served = serve(model, limits={"cached_images": 3})
    kept.clear()  # the server's own look at the model
    first, second = served.ann.upload([png(1), png(2)]), served.ann.upload([png(3), png(4)])
    assert all(keep for size, keep in kept if size == 2) is False
    assert kept[-1] == (2, False)
    assert kept[0][1]
    classifier = served.ann.classifier()
    context = served.ann.initial_context(classifier)[None]
    for id in (first, second):
        assert served.ann.score(classifier, id, context).is_success
    kept.clear()
    served.bob.upload([png(5), png(6)])
    assert all(keep for _, keep in kept)


def test_sets_that_are_announced_at_once_count_together(serve: Callable[..., Any]) -> None:
    served = serve(limits={"cached_images": 3})
    for number in range(3):
        served.ann.announce([b"%d %d" % (number, image) for image in range(2)])
    sets = served.service.image_sets.all_of("ann")
    assert [each.is_cached for each in sets] == [True, False, False]


def test_others_are_answered_while_many_names_are_opened(
    vlm: OpenCLIP, serve: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    begun, answered = threading.Event(), threading.Event()
    model = copy.copy(vlm)

    def opening(classnames: Sequence[str], init: str = DEFAULT_INIT) -> Any:
        if len(classnames) < 100:
            return OpenCLIP.opening(model, classnames, init)
        return opening_many(classnames, init)

    def opening_many(classnames: Sequence[str], init: str) -> Any:
        parts = 0
        begun.set()
        deadline = time.monotonic() + 30
        opened = OpenCLIP.opening(model, classnames, init)
        while True:
            try:
                next(opened)
            except StopIteration as end:
                assert parts > 1
                return end.value
            parts += 1
            while not answered.is_set():  # as if this part took as long as that
                assert time.monotonic() < deadline, "nobody else had a turn"
                yield
            yield

    model.opening = opening  # type: ignore[method-assign]
    served = serve(model)
    images, classifier = served.bob.upload([png(0)]), served.bob.classifier(["a", "b"])
    context = served.bob.initial_context(classifier)[None]
    names = [f"thing {number}" for number in range(300)]
    thread = threading.Thread(target=served.ann.classifier, args=(names,))
    thread.start()
    assert begun.wait(30)
    assert served.bob.score(classifier, images, context).is_success
    answered.set()
    thread.join(60)
    assert not thread.is_alive()


def test_places_of_missing_images_are_not_counted_again_and_again() -> None:
    digests = tuple(f"{number % 40_000:064x}" for number in range(50_000))
    held = AccountImages(digests)
    assert held.missing == list(range(40_000))
    images = [UploadedImage(b"%d" % number, "", 1) for number in range(100)]
    for number, image in enumerate(images):
        image.sha256 = digests[3 * number]
    held.take(images)
    held.take(images)
    assert held.kept_bytes == sum(image.size for image in images) == 190
    assert held.missing[:3] == [1, 2, 4]
    assert len(held.missing) == 39_900
    assert held.has(digests[3])
    assert not held.has(digests[1])
    held.forget_files(images[:10])
    assert held.kept_bytes == 180
    held.mark_evicted()
    assert held.missing[:4] == [0, 1, 2, 3]
    assert held.kept_bytes == 180
    held.forget_images()
    assert held.kept_bytes == 0
