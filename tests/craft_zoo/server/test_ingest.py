"""Uploaded images: decoded once, a few at a time, within limits, and released."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import decode_array, encode_files
from craft_zoo.server import Account
from craft_zoo.server.call import Call
from craft_zoo.server.ingest import add_images
from craft_zoo.server.uploads import UploadedImage

Refused = Callable[..., str]
Png = Callable[..., bytes]
WaitFor = Callable[..., None]


def large(color: int) -> bytes:
    """A file with more pixels than are decoded in one turn of an account."""
    file = io.BytesIO()
    Image.new("L", (3000, 2000), color).save(file, "PNG")
    return file.getvalue()


class Decoded:
    """Records what is decoded, and blocks until a test continues it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def note(self, image: UploadedImage) -> None:
        self.names.append(image.sha256)
        assert self.go.wait(10)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoded]:
    noted, check = Decoded(), UploadedImage.check

    def noting(image: UploadedImage) -> None:
        noted.note(image)
        check(image)

    monkeypatch.setattr(UploadedImage, "check", noting)
    yield noted
    noted.go.set()


def test_equal_files_are_decoded_and_encoded_once(
    serve: Callable[..., Any], png: Png, decoded: Decoded, vlm: OpenCLIP
) -> None:
    ann = serve().ann
    files = [png(500), png(501), png(500), png(500), png(501)]
    id = ann.announce(files)["id"]
    assert ann.put(id, {0: files[0], 2: files[2], 3: files[3]}).json() == {"missing": [1]}
    assert ann.put(id, dict(enumerate(files))).json() == {"missing": []}
    assert sorted(Counter(decoded.names).values()) == [1, 1]
    assert ann.put(id, {4: files[4]}).json() == {"missing": []}  # sent for nothing
    assert len(decoded.names) == 2
    classifier = ann.classifier()
    answer = decode_array(ann.score(classifier, id, ["{}"]).content)
    assert answer.shape == (1, 5, 3)
    assert (answer[0, 0] == answer[0, 2]).all()
    assert not (answer[0, 0] == answer[0, 1]).all()


def test_accounts_take_turns_in_having_images_decoded(
    serve: Callable[..., Any], png: Png, decoded: Decoded, wait_for: WaitFor
) -> None:
    served = serve()
    many, few = [large(seed) for seed in range(5)], [png(520), png(521)]
    big, small = served.ann.announce(many)["id"], served.bob.announce(few)["id"]
    decoded.go.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(served.ann.put, big, dict(enumerate(many[:3])))
        wait_for(lambda: len(decoded.names) == 1)
        more = pool.submit(served.ann.put, big, {3: many[3], 4: many[4]})
        wait_for(lambda: served.service.admission.in_progress == 2)
        other = pool.submit(served.bob.put, small, dict(enumerate(few)))
        wait_for(lambda: served.service.admission.in_progress == 3)
        wait_for(lambda: served.service._decoder._work_queue.qsize() == 1)
        decoded.go.set()
        assert other.result().json() == {"missing": []}
        assert first.result().is_success
        assert more.result().json() == {"missing": []}
    bobs = {UploadedImage(file, "", 1).sha256 for file in few}
    assert [name in bobs for name in decoded.names[:4]].index(True) in (1, 2)


def test_a_requests_pixels_are_bounded_before_one_of_them_is_decoded(
    serve: Callable[..., Any], png: Png, decoded: Decoded, refused: Refused
) -> None:
    ann = serve(limits={"pixels": 480, "request_pixels": 1000}).ann
    files = [png(seed) for seed in range(530, 533)]  # of 480 pixels each
    id = ann.announce(files)["id"]
    response = ann.put(id, dict(enumerate(files)))
    assert "have 1,440 pixels: send at most 1,000 at" in refused(response, 413, "too_large")
    assert not decoded.names
    assert ann.put(id, {0: files[0], 1: files[1]}).json() == {"missing": [2]}
    assert ann.put(id, {2: files[2]}).json() == {"missing": []}


def test_for_who_is_gone_nothing_more_is_decoded(
    serve: Callable[..., Any], decoded: Decoded
) -> None:
    served = serve()
    files = [large(seed) for seed in range(10, 14)]
    id = served.ann.announce(files)["id"]
    held = served.service.image_sets.get("ann", id)

    async def receive() -> dict[str, str]:
        if len(decoded.names) < 2:
            await asyncio.sleep(10)
        return {"type": "http.disconnect"}

    body = encode_files(dict(enumerate(files)))
    with ExitStack() as stack:
        state = {"account": Account("ann", ""), "held": stack}
        scope = {"type": "http", "headers": [], "app": served.client.app, "state": state}
        call = Call(Request(scope, receive))
        with pytest.raises(ClientDisconnect):
            served.client.portal.call(add_images, call, held, body)
    assert len(decoded.names) == 2
    assert held.missing == [0, 1, 2, 3]
    assert held.kept_bytes == 0


def test_of_encoded_images_nothing_is_kept_but_what_the_model_made_of_them(
    serve: Callable[..., Any], png: Png, make_tiny: Callable[..., OpenCLIP]
) -> None:
    served = serve()
    id = served.ann.upload([png(550), png(551)])
    held = served.service.image_sets.get("ann", id)
    assert held.encoded is not None
    assert not held.images
    assert held.kept_bytes == 0
    assert not any(image.is_held for image in held.encoded.sources)
    forgetful = serve(make_tiny())
    files = [png(550), png(551)]
    held = forgetful.service.image_sets.get("ann", forgetful.ann.upload(files))
    assert held.kept_bytes == sum(map(len, files))  # which it may want to see again


def test_a_lost_image_concerns_its_set_alone(
    serve: Callable[..., Any], png: Png, make_tiny: Callable[..., OpenCLIP]
) -> None:
    served = serve(make_tiny())
    served.service.remembers = True  # which it does not
    ann, files = served.ann, [png(560), png(561)]
    id = ann.announce(files)["id"]
    held = served.service.image_sets.get("ann", id)
    assert ann.put(id, {0: files[0]}).json() == {"missing": [1]}
    assert held.kept_bytes == 0
    assert ann.put(id, {1: files[1]}).json() == {"missing": [0]}
    assert held.kept_bytes == len(files[1])
    assert held.keeps_files
    assert served.service.remembers
    other = served.service.image_sets.get("ann", ann.upload([png(562)]))
    assert not other.keeps_files
    assert ann.put(id, {0: files[0]}).json() == {"missing": []}
    assert held.kept_bytes == 0
    assert ann.score(ann.classifier(), id, ["{}"]).is_success
