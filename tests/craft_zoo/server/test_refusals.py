"""Invalid requests are refused with a sentence, and the server continues."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.protocol import (
    DIGEST_HEADER,
    encode_array,
    encode_files,
)
from craft_zoo.server import Limits

Refused = Callable[..., str]

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture(scope="module")
def good(png: Callable[..., bytes]) -> bytes:
    return png(0)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def huge_header() -> bytes:
    """A PNG file of 100 bytes that claims 100 megapixels."""
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A real PNG file of 100 megapixels in a few kilobytes."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG", compress_level=9)
    assert len(file.getvalue()) < 50_000
    return file.getvalue()


def truncated_jpeg() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()[:-1000]


def zip_bomb() -> bytes:
    return gzip.compress(bytes(10**7))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (huge_header, "has 10,000 x 10,000 pixels: send at most"),
        (bomb, "has 10,000 x 10,000 pixels: send at most"),
        (truncated_jpeg, "image file is truncated"),
        (zip_bomb, "cannot identify"),
        (lambda: b"GIF", "cannot identify"),
        (lambda: b"\x89PNG\r\n\x1a\nnot at all", "cannot"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot identify"),
        (lambda: b"", "cannot identify"),
    ],
)
def test_bad_images_are_sentences(
    serve: Callable[..., Any], good: bytes, refused: Refused, file: Callable[[], bytes], said: str
) -> None:
    ann, content = serve().ann, file()
    id = ann.announce([good, content])["id"]
    response = ann.put(id, {0: good, 1: content})
    sentence = refused(response, 422, "bad_image")
    assert "image 1 " in sentence
    assert said in sentence
    assert ann.announce([good, content])["missing"] == [0, 1]  # nothing was taken
    assert ann.put(id, {0: good}).json() == {"missing": [1]}


def test_a_bomb_is_not_decoded(serve: Callable[..., Any], refused: Refused) -> None:
    ann, content = serve().ann, bomb()
    id = ann.announce([content])["id"]
    tracemalloc.start()
    refused(ann.put(id, {0: content}), 422, "bad_image")
    assert tracemalloc.get_traced_memory()[1] < 5 * 10**6
    tracemalloc.stop()


def test_images_must_be_those_that_were_announced(
    serve: Callable[..., Any], good: bytes, refused: Refused, png: Callable[..., bytes]
) -> None:
    ann = serve().ann
    id = ann.announce([good])["id"]
    sentence = refused(ann.put(id, {0: png(1)}), 422, "bad_image")
    assert hashlib.sha256(png(1)).hexdigest() in sentence
    assert "no image 7" in refused(ann.put(id, {7: good}), 400, "bad_request")
    response = ann.send("PUT", f"/v1/image-sets/{id}/images", content=b"no safetensors at all")
    assert "safetensors" in refused(response, 400, "bad_request")
    for names in (["x"], [], "abc", [hashlib.sha256(good).hexdigest().upper()]):
        response = ann.send("POST", "/v1/image-sets", json={"images": names})
        assert "images" in refused(response, 422, "bad_request")


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def terabytes() -> bytes:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 4, 256), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def with_value(value: float) -> Callable[[np.ndarray], bytes]:
    def make(context: np.ndarray) -> bytes:
        contexts = np.stack([context, context])
        contexts[1, 2, 3] = value
        return encode_array(contexts)

    return make


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (with_value(np.nan), 422, "NaN or infinity"),
        (with_value(-np.inf), 422, "NaN or infinity"),
        (lambda c: encode_array(np.full_like(c, 3e38)[None]), 422, "not finite"),
        (lambda c: npy(c[None].astype(np.float64)), 400, "float64"),
        (lambda c: npy(c[None].astype(">f4")), 400, ">f4"),
        (lambda c: npy(np.asfortranarray(np.stack([c, c]))), 400, "Fortran"),
        (lambda c: encode_array(c), 422, "do not fit"),
        (lambda c: encode_array(c[None, :, :-1]), 422, "do not fit"),
        (lambda c: encode_array(c[None, :-1]), 422, "do not fit"),
        (lambda c: encode_array(np.stack([c, c])[None]), 422, "do not fit"),  # of 3 classes
        (lambda c: encode_array(c[None, None, None, None]), 422, "do not fit"),
        (lambda c: encode_array(np.float32(1)), 422, "do not fit"),
        (lambda c: encode_array(np.zeros((0, *c.shape), np.float32)), 422, "no prompt"),
        (lambda c: encode_array(np.stack([c] * 9)), 413, "9 prompts are too many"),
        (lambda c: encode_array(c[None])[:-2], 400, "promises"),
        (lambda c: terabytes(), 400, "promises 1,125,899,906,842,624 numbers and 0 follow"),
        (lambda c: npy(np.array([c], object), allow_pickle=True), 400, "object"),
        (lambda c: b"\x93NUMPY\x01\x00\xff\xff{", 400, "not an .npy file"),
        (lambda c: b"", 400, "not an .npy file"),
        (lambda c: zip_bomb(), 400, "not an .npy file"),
        (lambda c: ["no place"], 422, "must hold {}"),
        (lambda c: ["{} and {}"], 422, "must hold {}"),
        (lambda c: [], 422, "templates"),
        (lambda c: [["{}", "{}"]], 422, "2 templates came for 3 classes"),
        (lambda c: [["{}", "{}", 5]], 422, "templates"),
        (lambda c: ["{}" + "x" * 600], 413, "more than 500 characters"),
        (lambda c: ["{}" + " word" * 99], 400, "long"),
        (lambda c: ["{}"] * 9, 413, "9 prompts are too many"),
    ],
)
def test_bad_prompts_are_sentences_and_cost_nothing(
    serve: Callable[..., Any],
    good: bytes,
    refused: Refused,
    body: Callable[[np.ndarray], Any],
    status: int,
    said: str,
) -> None:
    ann = serve(limits={"contexts": 8}).ann
    classifier, images = ann.classifier(), ann.upload([good])
    context = ann.initial_context(classifier)
    response = ann.score(classifier, images, body(context), key="k")
    code = "too_large" if status == 413 else "bad_request"
    assert said in refused(response, status, code)
    assert ann.usage()["requests"] == 0
    assert ann.score(classifier, images, context[None], key="k").is_success


def test_bad_classifiers_are_sentences(serve: Callable[..., Any], refused: Refused) -> None:
    ann = serve(limits={"classes": 5}).ann

    def ask(**body: Any) -> Any:
        return ann.send("POST", "/v1/classifiers", json=body)

    assert "classnames" in refused(ask(), 422, "bad_request")
    assert "classnames" in refused(ask(classnames=[]), 422, "bad_request")
    assert "classnames.1" in refused(ask(classnames=["a", 1]), 422, "bad_request")
    assert "6 classes" in refused(ask(classnames=["a"] * 6), 413, "too_large")
    assert "more than 200" in refused(ask(classnames=["a" * 201]), 413, "too_large")
    assert "more than 500" in refused(ask(classnames=["a"], init="a" * 501), 413, "too_large")
    assert "long" in refused(ask(classnames=["a " * 100]), 400, "bad_request")
    assert "more than one {}" in refused(ask(classnames=["a"], init="{} {}"), 400, "bad_request")
    assert "empty" in refused(ask(classnames=["a"], init=" "), 400, "bad_request")
    for text in (b"{", b"[" * 100_000, b'{"classnames": ["\\ud800"]}', b"\xff", b"null"):
        refused(ann.send("POST", "/v1/classifiers", content=text), 422, "bad_request")


def test_where_few_classes_are_told_apart_more_must_be_asked_about(
    serve: Callable[..., Any], refused: Refused
) -> None:
    ann = serve(answers="log_probabilities", top_k=2).ann
    for names in (["a"], ["a", "b"]):
        response = ann.send("POST", "/v1/classifiers", json={"classnames": names})
        assert "send at least 3" in refused(response, 422, "bad_request")
    assert ann.classifier(["a", "b", "c"])


def test_bodies_must_come_whole_plain_and_not_too_large(
    serve: Callable[..., Any], good: bytes, refused: Refused
) -> None:
    small = {"body_bytes": 10_000, "json_bytes": 2_000}
    served = serve(limits=small)
    ann = served.ann
    id = ann.announce([good])["id"]
    path = f"/v1/image-sets/{id}/images"
    body = encode_files({0: good})
    response = ann.send("PUT", path, content=body, headers={DIGEST_HEADER: "0" * 64})
    refused(response, 400, "bad_digest")
    response = ann.send("PUT", path, content=body[:-1], headers={DIGEST_HEADER: "é".encode()})
    refused(response, 400, "bad_digest")
    packed = gzip.compress(body)
    response = ann.send("PUT", path, content=packed, headers={"Content-Encoding": "gzip"})
    assert "without Content-Encoding" in refused(response, 415, "unsupported")
    assert "10,000 bytes" in refused(ann.send("PUT", path, content=bytes(10_001)), 413, "too_large")
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(10**4):
            taken += 1
            yield bytes(1000)

    refused(ann.send("PUT", path, content=endless()), 413, "too_large")
    names = {"classnames": ["a" * 150] * 20}
    refused(ann.send("POST", "/v1/classifiers", json=names), 413, "too_large")
    headers = {"Idempotency-Key": "k", "Content-Type": "application/x-pickle"}
    url = f"/v1/classifiers/x/scores?images={id}"
    refused(ann.send("POST", url, content=b"x", headers=headers), 415, "unsupported")
    assert served.service.admission.in_progress == 0
    assert ann.put(id, {0: good}).json() == {"missing": []}


def test_scores_need_a_key_of_their_own(serve: Callable[..., Any], refused: Refused) -> None:
    ann = serve().ann
    response = ann.send("POST", "/v1/classifiers/x/scores?images=y", content=b"")
    assert "Idempotency-Key" in refused(response, 422, "bad_request")
    response = ann.send(
        "POST",
        "/v1/classifiers/x/scores?images=y",
        content=b"",
        headers={"Idempotency-Key": "with blanks"},
    )
    refused(response, 422, "bad_request")
    assert "nothing at this path" in refused(ann.send("GET", "/v1/weights"), 404, "not_found")
    assert ann.send("PATCH", "/v1/model").status_code == 405


def test_an_answer_must_not_be_too_large(
    serve: Callable[..., Any], good: bytes, refused: Refused
) -> None:
    ann = serve(limits={"answer_bytes": 24}).ann
    classifier, images = ann.classifier(), ann.upload([good])
    context = ann.initial_context(classifier)
    assert ann.score(classifier, images, np.stack([context] * 2)).is_success
    response = ann.score(classifier, images, np.stack([context] * 3))
    assert "would have 36 bytes" in refused(response, 413, "too_large")


def test_requests_a_second(serve: Callable[..., Any], refused: Refused) -> None:
    now = 0.0
    served = serve(limits={"burst": 3, "requests_per_second": 0.5}, clock=lambda: now)
    for _ in range(3):
        assert served.ann.send("GET", "/v1/usage").is_success
    response = served.ann.send("GET", "/v1/usage")
    refused(response, 429, "rate_limited")
    assert response.headers["Retry-After"] == "2"
    assert served.bob.send("GET", "/v1/usage").is_success
    now = 1.9
    assert served.ann.send("GET", "/v1/usage").headers["Retry-After"] == "1"
    now = 2.0
    assert served.ann.send("GET", "/v1/usage").is_success
    assert served.ann.send("GET", "/v1/usage").status_code == 429


def test_what_was_used_longest_ago_is_forgotten_for_something_new(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Refused
) -> None:
    served = serve(limits={"image_sets": 2, "images": 3, "classifiers": 2})
    ann = served.ann
    first, second = ann.upload([png(0)]), ann.upload([png(1)])
    classifier = ann.classifier()
    context = ann.initial_context(classifier)[None]
    ann.score(classifier, first, context)
    third = ann.upload([png(2)])
    refused(ann.score(classifier, second, context), 404, "unknown_image_set")
    assert all(ann.score(classifier, id, context).is_success for id in (first, third))
    ann.classifier(["x"])
    ann.classifier(["y"])
    refused(ann.score(classifier, third, context), 404, "unknown_classifier")
    assert len(served.service.encoded) == 2
    response = ann.send("POST", "/v1/image-sets", json={"images": ["0" * 64] * 4})
    assert "4 images are too many" in refused(response, 413, "too_large")


def test_files_that_are_kept_are_bounded(
    serve: Callable[..., Any], png: Callable[..., bytes], refused: Refused
) -> None:
    ann = serve(limits={"kept_bytes": 3000}).ann
    files = [png(seed) for seed in range(3)]
    id = ann.announce(files)["id"]
    assert len(files[0]) < 3000 < sum(map(len, files))
    refused(ann.put(id, dict(enumerate(files))), 413, "too_large")
    for place, file in enumerate(files):  # those that were encoded take nothing
        assert ann.put(id, {place: file}).is_success


def test_limits_and_settings_out_of_range_are_sentences() -> None:
    from craft_zoo.errors import CraftZooError

    with pytest.raises(CraftZooError, match="pixels must be more than 0"):
        Limits(pixels=0)
    with pytest.raises(CraftZooError, match="raise the limit held_bytes"):
        Limits(held_bytes=10)
    with pytest.raises(CraftZooError, match="raise the limit request_pixels"):
        Limits(pixels=2**30)
    for value in (float("nan"), float("inf")):
        with pytest.raises(CraftZooError, match="body_seconds must be more than 0 and finite"):
            Limits(body_seconds=value)


@pytest.mark.slow
def test_a_thousand_bad_requests_leave_the_server_healthy(
    serve: Callable[..., Any], good: bytes
) -> None:
    served = serve()
    ann = served.ann
    files = [good, huge_header(), truncated_jpeg(), zip_bomb(), b"?"]
    id = ann.announce(files)["id"]
    classifier, images = ann.classifier(), ann.upload([good])
    context = ann.initial_context(classifier)
    bodies = [with_value(np.nan)(context), terabytes(), b"?", encode_array(context)]
    statuses = set()
    for number in range(500):
        place = 1 + number % 4
        statuses.add(ann.put(id, {place: files[place]}).status_code)
        statuses.add(ann.score(classifier, images, bodies[number % 4]).status_code)
    assert statuses == {400, 422}
    assert served.client.get("/readyz").status_code == 200
    assert served.service.admission.in_progress == 0
    assert served.service.admission.held == 0
    assert ann.score(classifier, images, context[None]).is_success
    assert ann.usage()["requests"] == 1
