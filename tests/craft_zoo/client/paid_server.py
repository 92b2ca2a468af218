"""Server of all paid protocols, which counts tokens as their vendors document."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import math
import re
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

MODELS = {
    "openai": "m",
    "systemone": "m",
    "chat": "gpt-4o",
    "embeddings": "m",
    "cohere": "embed-v4.0",
    "voyage": "voyage-multimodal-3.5",
}
PATHS = {"systemone": "", "cohere": "/v2"}  # of the base URLs; the others: /v1
_REFUSED = "Sorry."


@functools.cache
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def text_tokens(text: str) -> int:
    """Number of tokens by CLIP's byte-pair encoding, which stands in for each vendor's."""
    lines = text.split("\n")
    return sum(len(_tokenizer().encode(line)) for line in lines) + len(lines) - 1


def tile_tokens(width: int, height: int) -> int:
    """gpt-4o's tokens: 85, and 170 per square of 512 pixels, after scaling to 2048 and 768."""
    for factor in (2048 / max(width, height), 768 / min(width, height)):
        if factor < 1:
            width, height = round(factor * width), round(factor * height)
    return 85 + 170 * math.ceil(width / 512) * math.ceil(height / 512)


def patch_tokens(width: int, height: int) -> int:
    return math.ceil(width / 32) * math.ceil(height / 32)


def pixel_tokens(width: int, height: int) -> int:
    """Voyage's tokens: one per 560 pixels, of images that are resized to its bounds."""
    return min(max(width * height, 50_000), 2_000_000) // 560


class PaidServer:
    """Answers every protocol with numbers that depend only on image and text.

    Attributes:
        faults: what happens to the next requests, in place of an answer or to it: an HTTP status,
            "cut", "html", "refuse" or None.
        after: seconds of Retry-After.
        said: message with statuses.
        answered: bodies of requests that were answered whole; ``bodies``: parsed.
        keys: their idempotency keys.
        headers: of all requests.
        refused: texts, such as data URLs of images, about which requests are refused.
        alter: makes the answer that is sent of the right one.
        tokens: sum of the input tokens of these answers.
        propose: makes the answer of a language model to a question in text alone.
        logprobs: whether chat completions have any.
        decimals: of probabilities.
        noise: standard deviation of what is added to the log-odds of each answer; without
            log-probabilities, labels are then drawn.
        version: of the model; another one answers otherwise.
        on_request: called when a request comes.
    """

    def __init__(self) -> None:
        self.faults: list[str | None] = []
        self.answered: list[bytes] = []
        self.refused: Sequence[str] = ()
        self.keys: list[str] = []
        self.headers: list[Any] = []
        self.alter: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.tokens, self.after, self.decimals, self.said = 0, 0, 4, "no"
        self.propose: Callable[[str], str] = lambda asked: "Sorry."
        self.logprobs = True
        self.noise, self.version, self._rng = 0.0, "", np.random.default_rng(0)
        self.on_request: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # else a body waits 40 ms for an ACK
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                server._reply(self)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def name(self, protocol: str) -> str:
        """Name of the model behind a protocol."""
        return f"{protocol}:{MODELS[protocol]}@{self.url}{PATHS.get(protocol, '/v1')}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.answered]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _reply(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers["content-length"]))
        self.on_request()
        with self._lock:
            fault = self.faults.pop(0) if self.faults else None
            self.headers.append(http.headers)
        if fault is not None and fault.isdigit():
            content = json.dumps({"error": {"message": self.said, "code": fault}}).encode()
            self._write(http, int(fault), content, {"Retry-After": str(self.after)})
            return
        route = http.path.rpartition("/")[2]
        refuse = fault == "refuse" or any(text.encode() in body for text in self.refused)
        answer, tokens = getattr(self, f"_{route}")(json.loads(body), refuse)
        content = json.dumps(self.alter(answer)).encode()
        if fault == "cut":
            self._write(http, 200, content, cut=len(content) // 2)
        elif fault == "html":
            self._write(http, 200, b"<html>busy</html>")
        else:
            with self._lock:
                self.answered.append(body)
                self.keys.append(http.headers["Idempotency-Key"])
                self.tokens += tokens
            self._write(http, 200, content)

    def _write(
        self,
        http: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        cut: int = 0,
    ) -> None:
        http.send_response(status)
        sizes = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (sizes | (headers or {})).items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(content[: len(content) - cut])
        http.close_connection = http.close_connection or cut > 0

    def _probabilities(self, image: bytes, texts: Sequence[str]) -> list[float]:
        weights = np.exp([_number(image, text + self.version) for text in texts])
        if self.noise:
            with self._lock:
                weights *= np.exp(self.noise * self._rng.standard_normal(len(texts)))
        return [float(one) for one in (weights / weights.sum()).round(self.decimals)]

    def _decisions(self, body: dict[str, Any], refuse: bool) -> tuple[Any, int]:
        image = _image(body["input"][0]["content"][0]["image_url"])
        tokens, answers = 10 + patch_tokens(*_size(image)), []
        for question in body["questions"]:
            choices = question.get("choices", [])
            texts = [one["value"] + one.get("description", "") for one in choices]
            tokens += 6 + sum(map(text_tokens, [question["instructions"], *texts]))
            tokens += 2 * len(texts)
            p = self._probabilities(image, texts or [question["instructions"], "not so"])
            if refuse:
                answers.append({"type": "refusal"})
            elif choices:
                listed = [
                    {"value": one["value"], "probability": each}
                    for one, each in zip(choices, p, strict=True)
                ]
                # Services may list the options in another order.
                answers.append({"type": "choice", "probabilities": listed[::-1]})
            else:
                answers.append({"type": "predicate", "probability": p[0]})
        return {"answers": answers, "usage": _usage(tokens)}, tokens

    def _systemone(self, body: dict[str, Any], refuse: bool) -> tuple[Any, int]:
        [asset] = body["assets"].values()
        image = base64.b64decode(asset["data_base64"])
        tokens, answers = 0, {}
        for name, question in body["questions"].items():
            criteria = question.get("criteria", {})
            texts = [value + (text or "") for value, text in criteria.items()]
            tokens += 10 + patch_tokens(*_size(image))
            tokens += sum(map(text_tokens, [question["instructions"], *texts])) + 3 * len(texts)
            p = self._probabilities(image, texts or [question["instructions"], "not so"])
            if criteria:
                answers[name] = {"probabilities": dict(zip(criteria, p, strict=True))}
            else:
                answers[name] = {"noul": p[0]}
        return {"answers": {} if refuse else answers, "usage": _usage(tokens)}, tokens

    def _completions(self, body: dict[str, Any], refuse: bool) -> tuple[Any, int]:
        if isinstance(asked := body["messages"][0]["content"], str):
            said = self.propose(asked)
            usage = {
                "prompt_tokens": text_tokens(asked),
                "completion_tokens": min(text_tokens(said), body["max_tokens"]),
            }
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": said}}
            return {"choices": [choice], "usage": usage}, 0
        picture, text = asked
        image = _image(picture["image_url"]["url"])
        tokens = 7 + tile_tokens(*_size(image)) + text_tokens(text["text"])
        lines = dict(re.findall(r"^([A-Z])\. (.*)$", text["text"], flags=re.MULTILINE))
        p = self._probabilities(image, list(lines.values()))
        said = _REFUSED if refuse else list(lines)[int(np.argmax(p))]
        choice = {"message": {"role": "assistant", "content": said}}
        if self.logprobs and not refuse:
            top = [
                {"token": letter, "logprob": math.log(max(one, 1e-9))}
                for letter, one in zip(lines, p, strict=True)
            ]
            choice["logprobs"] = {"content": [{"token": said, "top_logprobs": top}]}
        choices = [choice]
        if self.noise and not self.logprobs:
            with self._lock:
                drawn = self._rng.choice(list(lines), body.get("n", 1), p=p / np.sum(p))
            choices = [{"message": {"role": "assistant", "content": str(one)}} for one in drawn]
        usage = {"prompt_tokens": tokens, "completion_tokens": 1}
        return {"choices": choices, "usage": usage}, tokens

    def _embeddings(self, body: dict[str, Any], refuse: bool) -> tuple[Any, int]:
        inputs = body["input"]
        if body.get("modality") == "image":
            inputs = [_image(one) for one in inputs]
        tokens = 8 + sum(_tokens(one, patch_tokens) for one in inputs)
        return {"data": _indexed(inputs), "usage": {"prompt_tokens": tokens}}, tokens

    def _embed(self, body: dict[str, Any], refuse: bool) -> tuple[Any, int]:
        assert body["embedding_types"] == ["float"]
        assert (body["input_type"] == "image") is ("images" in body)
        inputs = [_image(one) for one in body.get("images", ())] or body["texts"]
        tokens = sum(_tokens(one, patch_tokens) for one in inputs)
        kind = "image_tokens" if "images" in body else "input_tokens"
        rows = [_vector(one) for one in inputs]
        return {"embeddings": {"float": rows}, "meta": {"billed_units": {kind: tokens}}}, tokens

    def _multimodalembeddings(self, body: dict[str, Any], refuse: bool) -> tuple[Any, int]:
        parts = [one["content"][0] for one in body["inputs"]]
        inputs = [one.get("text") or _image(one["image_base64"]) for one in parts]
        tokens = sum(_tokens(one, pixel_tokens) for one in inputs)
        return {"data": _indexed(inputs), "usage": {"total_tokens": tokens}}, tokens


def _usage(tokens: int) -> dict[str, int]:
    return {"input_tokens": tokens, "output_tokens": 0}


def _image(url: str) -> bytes:
    start, _, content = url.partition(",")
    assert start.startswith("data:image/")
    return base64.b64decode(content, validate=True)


def _size(image: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(image)) as opened:
        return opened.size


def _tokens(given: str | bytes, rule: Callable[[int, int], int]) -> int:
    return text_tokens(given) if isinstance(given, str) else rule(*_size(given))


def _number(image: bytes, text: str) -> float:
    digest = hashlib.sha256(image + text.encode()).digest()
    return float(np.random.default_rng(list(digest[:8])).standard_normal())


def _vector(given: str | bytes) -> list[float]:
    content = given.encode() if isinstance(given, str) else given
    digest = hashlib.sha256(content).digest()
    return [float(one) for one in np.random.default_rng(list(digest)).standard_normal(8)]


def _indexed(inputs: Sequence[str | bytes]) -> list[dict[str, Any]]:
    return [{"index": place, "embedding": _vector(one)} for place, one in enumerate(inputs)][::-1]
