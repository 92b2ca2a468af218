"""What all routes work with: the model in its thread, the state, and what is under way."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from craft_zoo.blackbox import DEFAULT_INIT, VLM, BlackBox, Prompts
from craft_zoo.errors import CraftZooError
from craft_zoo.serve import questions
from craft_zoo.serve.accounts import Account
from craft_zoo.serve.buckets import TokenBuckets
from craft_zoo.serve.gate import Gate
from craft_zoo.serve.holdings import (
    AccountImages,
    Encoded,
    Opened,
    Shared,
    Shelves,
    content_id,
)
from craft_zoo.serve.metrics import Metrics
from craft_zoo.serve.probe import Probed, probe
from craft_zoo.serve.refusal import bad, busy
from craft_zoo.serve.settings import ServeSettings
from craft_zoo.serve.state import Bill, Entry, Recorded, State, check_quota
from craft_zoo.serve.uploads import ForgottenImageError
from craft_zoo.serve.worker import Job, Worker
from craft_zoo.wire import ErrorCode, digest

Result = TypeVar("Result")

_LOG = logging.getLogger("craft_zoo.serve")
_READERS = 2  # threads that read bodies and decode images
_SMALL = 2**16  # bytes that are read sooner than another thread is woken
_OWNER = ""  # whose turn the server's own work takes; no account has this name


@dataclass(frozen=True)
class Prepared:
    """A question that can be answered.

    Attributes:
        bill: what it will cost.
        answer: computes the answer's body.
    """

    bill: Bill
    answer: Callable[[], Awaitable[bytes]]


class Service:
    """A model being served. Its attributes are for the event loop's thread.

    Args:
        vlm: the model.
        settings: how.
        clock: seconds that only grow.
    """

    model: Probed

    def __init__(
        self, vlm: VLM, settings: ServeSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.vlm, self.settings, limits = vlm, settings, settings.limits
        self.metrics = Metrics(lambda: self._worker.waiting)
        self.gate = Gate(limits)
        self.buckets = TokenBuckets(limits.requests_per_second, limits.burst, clock)
        self.image_sets: Shelves[AccountImages] = Shelves(
            limits.image_sets,
            ErrorCode.UNKNOWN_IMAGE_SET,
            "there is no image set of this id: announce it with POST /v1/image-sets",
        )
        self.classifiers: Shelves[Opened] = Shelves(
            limits.classifiers,
            ErrorCode.UNKNOWN_CLASSIFIER,
            "there is no classifier of this id: open it with POST /v1/classifiers",
        )
        self.encoded: Shared[Encoded] = Shared()  # both used by the worker's thread
        self.opened: Shared[Opened] = Shared()
        self.is_ready = self.is_closing = False
        self._worker = self._new_worker()
        self._asking: dict[tuple[str, str], _Turnstile] = {}
        self._unrecorded: list[tuple[Entry, asyncio.Future[Recorded]]] = []
        self._recording = asyncio.Lock()

    async def start(self) -> None:
        """Open the state and get to know the model.

        Raises:
            CraftZooError: one of them cannot be used.
        """
        self.is_closing = False
        self.state = State(self.settings.state, self.settings.limits.stored_bytes)
        self._readers = ThreadPoolExecutor(_READERS, "craft-zoo-read")
        self._clerk = ThreadPoolExecutor(1, "craft-zoo-bill")
        self._worker.start()
        self.model = await self.compute(_OWNER, "probe", lambda: probe(self.vlm))
        self.is_ready = True

    def close(self) -> None:
        """Refuse what is new; what is under way goes on. May be called from a signal's handler."""
        self.is_closing = True

    async def stop(self) -> None:
        """Answer what is under way, then end."""
        self.close()
        await asyncio.to_thread(self._worker.stop)
        while self.gate.inside:
            await asyncio.sleep(0.01)
        self.is_ready = False
        for pool in (self._readers, self._clerk):
            pool.shutdown()
        self.state.close()
        self._worker = self._new_worker()  # the app may be started again

    async def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function returns that reads much, in another thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, function, *arguments)

    async def digest(self, body: bytes) -> str:
        """The digest of a body, see :func:`craft_zoo.wire.digest`."""
        return digest(body) if len(body) < _SMALL else await self.read(digest, body)

    async def compute(self, account: str, kind: str, function: Callable[[], Result]) -> Result:
        """What a function returns that needs the model, when it is the account's turn.

        Raises:
            Refusal: the model does not take what it is given.
        """
        return await self._done(Job(account, kind, lambda _: [function()]))

    async def ask(
        self, account: str, opened: Opened, encoded: Encoded, prompts: Prompts
    ) -> np.ndarray:
        """Logits (P, N, C), of one call of the model perhaps with those of other requests.

        Raises:
            Refusal: see :meth:`compute`.
        """
        box, images = opened.box, encoded.images
        form = prompts.ndim if isinstance(prompts, np.ndarray) else 0
        together = (opened, encoded, form) if self.settings.max_batch > 1 else None
        return await self._done(
            Job(
                account,
                "scores",
                lambda payloads: questions.ask(box, images, payloads),
                prompts,
                together,
                len(prompts),
            )
        )

    def interlude(self, *_: int) -> None:
        """Let others ask in the midst of a long computation, in the worker's thread."""
        self._worker.interlude()

    async def open(
        self, account: str, classnames: tuple[str, ...], init: str = DEFAULT_INIT
    ) -> tuple[str, Opened]:
        """Open the model on class names for an account; their id, and what was opened.

        Raises:
            Refusal: the model does not take them.
        """
        id = content_id("classifier", account, init, *classnames)
        opened = self.classifiers.find(account, id)
        if opened is None:
            content = classnames, init
            opened = await self.compute(
                account,
                "classifier",
                lambda: self.opened.get(content, lambda: Opened(self._open(classnames, init))),
            )
        self.classifiers.put(account, id, opened)
        return id, opened

    async def answer_once(
        self,
        account: Account,
        key: str,
        question: bytes,
        prepare: Callable[[], Awaitable[Prepared]],
    ) -> Recorded:
        """Answer a request, or send again what it was answered; see the protocol.

        Args:
            account: who asks.
            key: name of the request.
            question: digest of all that it asks.
            prepare: called where the answer must be computed.

        Raises:
            Refusal: nothing was billed.
        """
        # To its end even if the client is gone: it will ask again.
        return await asyncio.shield(
            asyncio.ensure_future(self._answer_once(account, key, question, prepare))
        )

    async def _answer_once(
        self,
        account: Account,
        key: str,
        question: bytes,
        prepare: Callable[[], Awaitable[Prepared]],
    ) -> Recorded:
        name = account.name
        turnstile = self._asking.setdefault((name, key), _Turnstile())
        turnstile.users += 1
        try:
            async with turnstile.lock:
                known = await self.file(self.state.find, name, key, question)
                if known and known.body is not None:
                    return known
                prepared = await prepare()
                if known is None:
                    used = await self.file(self.state.usage, name)
                    check_quota(account, used, prepared.bill)
                body = await prepared.answer()
                recorded = await self._record(Entry(account, key, question, prepared.bill, body))
                if known is None:
                    self.metrics.predictions.labels(name).inc(prepared.bill.predictions)
                return recorded
        finally:
            turnstile.users -= 1
            if not turnstile.users:
                del self._asking[name, key]

    async def _record(self, entry: Entry) -> Recorded:
        """Record a request, with all that come while the disk is busy with others."""
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._unrecorded.append((entry, future))
        if len(self._unrecorded) == 1:
            await self._recording.acquire()
            try:
                entries, self._unrecorded = self._unrecorded, []
                outcomes: Sequence[Recorded | Exception] = await self.file(
                    self.state.record, [each for each, _ in entries]
                )
            except Exception as error:  # all who wait for the outcome must get one
                outcomes = [error] * len(entries)
            finally:
                self._recording.release()
            for (_, each), outcome in zip(entries, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    each.set_exception(outcome)
                else:
                    each.set_result(outcome)
        return await future

    async def file(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function of the state returns.

        Raises:
            Refusal: the disk does not take it.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._clerk, function, *arguments)
        except sqlite3.Error:
            _LOG.exception("the state cannot be used")
            raise busy("the server cannot write to its disk") from None

    def _open(self, classnames: tuple[str, ...], init: str) -> BlackBox:
        return self.vlm.classifier(classnames, init)

    def _new_worker(self) -> Worker:
        threads = torch.get_num_threads()  # a new thread's number may be another
        return Worker(
            self.settings.max_batch,
            lambda: torch.set_num_threads(threads),
            self.metrics.observe_call,
        )

    async def _done(self, job: Job) -> Any:
        try:
            return await asyncio.wrap_future(self._worker.submit(job))
        except ForgottenImageError:
            raise
        except CraftZooError as error:
            raise bad(str(error), 400) from None


class _Turnstile:
    """Lets requests of one key through one by one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
