"""Minimal server of the protocol: a model behind HTTP, with a persistent bill."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from craft_zoo.blackbox import VLM
from craft_zoo.protocol import (
    BILLED_HEADER,
    DIGEST_HEADER,
    IDEMPOTENCY_HEADER,
    ErrorCode,
    decode_array,
    decode_files,
    digest,
    encode_array,
)

KEY = "secret"

Answer = tuple[int, bytes, dict[str, str]]


class Refusal(Exception):  # noqa: N818
    def __init__(self, code: ErrorCode, message: str = "no", **headers: str) -> None:
        super().__init__(message)
        self.code, self.message, self.headers = code, message, headers


class FakeServer:
    """Serves a model to one account.

    Attributes:
        about: fields of ``GET /v1/model`` that are added or replaced.
        limits: announced limits; only ``images``, ``image_sets`` and ``answer_bytes`` are enforced.
        log: method and path of each request.
        ledger: responses by idempotency key, which survive restarts.
        hook: called first, with method and path; may return or raise a response.
        alter: changes the correct scores before they are sent.
    """

    def __init__(self, vlm: VLM, *, in_flight: int = 40) -> None:
        self.vlm, self.in_flight = vlm, in_flight
        self.accepts = ["contexts", "texts"]
        self.about: dict[str, Any] = {}
        self.limits: dict[str, int] = {}
        self.log: list[str] = []
        self.keys: list[str] = []
        self.ledger: dict[str, tuple[str, bytes, int, int]] = {}
        self.hook: Callable[[str, str], Answer | None] = lambda method, path: None
        self.alter: Callable[[np.ndarray], np.ndarray] = lambda scores: scores
        self._lock = threading.RLock()
        self.restart()

    def __enter__(self) -> FakeServer:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # else a body waits 40 ms for an ACK
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    status, content, headers = fake.answer(
                        self.command, self.path, body, dict(self.headers)
                    )
                except Refusal as refusal:
                    error = {"code": refusal.code, "message": refusal.message}
                    status, content = refusal.code.status, json.dumps({"error": error}).encode()
                    headers = {k.replace("_", "-"): v for k, v in refusal.headers.items()}
                self.send_response(status)
                for name, value in {DIGEST_HEADER: digest(content), **headers}.items():
                    if value:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Ignores clients that disconnect."""

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def restart(self) -> None:
        """Forget all but the ledger."""
        with self._lock:
            self.sets: dict[str, dict[str, Any]] = {}
            self.boxes: dict[str, Any] = {}

    @property
    def predictions(self) -> int:
        """Number of billed predictions."""
        return sum(entry[2] for entry in self.ledger.values())

    def asked(self, what: str) -> int:
        """Number of requests whose method and path begin with ``what``."""
        return sum(line.startswith(what) for line in self.log)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        with self._lock:
            return self._answer(method, path, body, headers)

    def _answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        self.log.append(f"{method} {path}")
        hooked = self.hook(method, path)
        if hooked is not None:
            return hooked
        if headers.get("Authorization") != f"Bearer {KEY}":
            raise Refusal(ErrorCode.UNAUTHORIZED, "the key is not known")
        if body and headers.get(DIGEST_HEADER) != digest(body):
            raise Refusal(ErrorCode.BAD_DIGEST, "the body is not what its digest says")
        for pattern, function in self._routes():
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                return function(body, headers, *match.groups())
        raise Refusal(ErrorCode.NOT_FOUND)

    def _routes(self) -> list[tuple[str, Callable[..., Answer]]]:
        return [
            (r"GET /v1/model", self._model),
            (r"GET /v1/usage", self._usage),
            (r"POST /v1/image-sets", self._new_set),
            (r"PUT /v1/image-sets/(\w+)/images", self._put),
            (r"DELETE /v1/image-sets/(\w+)", self._delete),
            (r"POST /v1/classifiers", self._classifier),
            (r"GET /v1/classifiers/(\w+)/initial-context", self._context),
            (r"POST /v1/classifiers/(\w+)/scores\?images=(\w+)", self._scores),
        ]

    def _model(self, *_: Any) -> Answer:
        about = {
            "name": "craft-mini",
            "image_size": self.vlm.image_size,
            "in_flight": self.in_flight,
            "accepts": self.accepts,
            "answers": "logits",
            "top_k": None,
            "limits": self.limits,
        }
        return _json(**about | self.about)

    def _usage(self, *_: Any) -> Answer:
        rows = self.ledger.values()
        scores = sum(row[3] for row in rows)
        return _json(
            predictions=self.predictions, scores=scores, requests=len(rows), quota=None,
            remaining=None,
        )  # fmt: skip

    def _new_set(self, body: bytes, _: Any) -> Answer:
        wanted = json.loads(body)["images"]
        self._limit("images", len(wanted))
        name = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
        self._use(name, self.sets.get(name) or {"wanted": wanted, "files": {}, "images": None})
        if len(self.sets) > self.limits.get("image_sets", len(self.sets)):
            del self.sets[next(iter(self.sets))]  # least recently used
        return _json(id=name, missing=self._missing(name))

    def _put(self, body: bytes, _: Any, name: str) -> Answer:
        known = self._set(name)
        for place, content in decode_files(body).items():
            if hashlib.sha256(content).hexdigest() != known["wanted"][place]:
                raise Refusal(ErrorCode.BAD_IMAGE, f"image {place} is another")
            try:
                Image.open(io.BytesIO(content)).load()
            except OSError:
                raise Refusal(ErrorCode.BAD_IMAGE, f"image {place} is broken") from None
            known["files"][known["wanted"][place]] = content
        return _json(missing=self._missing(name))

    def _delete(self, _body: bytes, _: Any, name: str) -> Answer:
        self._set(name)
        del self.sets[name]
        return 204, b"", {}

    def _missing(self, name: str) -> list[int]:
        known = self.sets[name]
        return [i for i, each in enumerate(known["wanted"]) if each not in known["files"]]

    def _set(self, name: str) -> dict[str, Any]:
        if name not in self.sets:
            raise Refusal(ErrorCode.UNKNOWN_IMAGE_SET, f"image set {name} is not known")
        self._use(name, self.sets[name])
        return self.sets[name]

    def _use(self, name: str, known: dict[str, Any]) -> None:
        self.sets.pop(name, None)
        self.sets[name] = known

    def _limit(self, name: str, value: int) -> None:
        if value > self.limits.get(name, value):
            raise Refusal(ErrorCode.TOO_LARGE, f"{name} would be {value}")

    def _classifier(self, body: bytes, _: Any) -> Answer:
        about = json.loads(body)
        name = hashlib.sha256(body).hexdigest()[:16]
        if name not in self.boxes:
            self.boxes[name] = self.vlm.classifier(about["classnames"], about["init"])
        box = self.boxes[name]
        return _json(
            id=name, template=box.template, classnames=box.classnames,
            shape=box.initial_context.shape,
        )  # fmt: skip

    def _box(self, name: str) -> Any:
        if name not in self.boxes:
            raise Refusal(ErrorCode.UNKNOWN_CLASSIFIER, f"classifier {name} is not known")
        return self.boxes[name]

    def _context(self, _body: bytes, _: Any, name: str) -> Answer:
        return 200, encode_array(self._box(name).initial_context), {}

    def _scores(self, body: bytes, headers: dict[str, str], box_name: str, set_name: str) -> Answer:
        key = headers[IDEMPOTENCY_HEADER]
        self.keys.append(key)
        asked = digest(body + box_name.encode() + set_name.encode())
        if key not in self.ledger:
            box, known = self._box(box_name), self._set(set_name)
            if self._missing(set_name):
                raise Refusal(ErrorCode.BAD_REQUEST, "images are missing")
            if known["images"] is None:
                files = [known["files"][each] for each in known["wanted"]]
                pictures = [Image.open(io.BytesIO(content)) for content in files]
                known["images"] = self.vlm.images(pictures, keep=False)
            if headers["Content-Type"] == "application/json":
                each = json.loads(body)["templates"]
                prompts: Any = [t if isinstance(t, str) else tuple(t) for t in each]
            else:
                prompts = decode_array(body)
            n_scores = len(prompts) * len(known["wanted"]) * len(box.classnames)
            self._limit("answer_bytes", 4 * n_scores)
            scores = np.stack(list(box.logits(prompts, known["images"])))
            row = asked, encode_array(self.alter(scores)), scores[..., 0].size, scores.size
            self.ledger[key] = row
        before, answer, predictions, _ = self.ledger[key]
        if before != asked:
            raise Refusal(ErrorCode.CONFLICT, "the key was used for another question")
        return 200, answer, {BILLED_HEADER: str(predictions)}

    def times_sent(self) -> Counter[str]:
        """Number of requests by idempotency key."""
        return Counter(self.keys)


def _json(**about: Any) -> Answer:
    return 200, json.dumps(about).encode(), {}
