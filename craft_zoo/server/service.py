"""The service behind all routes: model thread, billing, caches and requests in progress."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from craft_zoo.blackbox import DEFAULT_INIT, VLM, BlackBox, ImageSet, Prompt, Question, serving
from craft_zoo.data.images import BrokenImageError
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError, PromptError, UnavailableError
from craft_zoo.protocol import ErrorCode
from craft_zoo.server.accounts import Account
from craft_zoo.server.admission import Admission, RateLimit
from craft_zoo.server.billing import Bill, Entry, Recorded, State, check_quota
from craft_zoo.server.caches import AccountCache, AccountImages, Opened, content_id
from craft_zoo.server.capabilities import capabilities_of, public_name
from craft_zoo.server.errors import bad, busy
from craft_zoo.server.metrics import Metrics
from craft_zoo.server.scoring import ask
from craft_zoo.server.settings import ServeSettings
from craft_zoo.server.uploads import ForgottenImageError, UploadedImage
from craft_zoo.server.worker import Job, Run, StoppedError, Worker, whole
from craft_zoo.threads import compute_on, computing_threads

Result = TypeVar("Result")

_LOG = logging.getLogger("craft_zoo.server")
_READERS = 2  # threads that parse bodies and encode answers
_SMALL = 2**16  # bytes; parsing fewer takes less time than handing over to another thread
_RETRIED = 20.0  # seconds; all accounts wait while a call of the model's service is retried
_LATER = 10  # seconds after which a client may ask again if that was in vain
_TASKS = 16  # classifiers and texts of stateless requests that are kept for each account
_OWNER = ""  # pseudo-account of the server's own jobs; no account has an empty name


@dataclass(frozen=True)
class Prepared:
    """A valid question with a known cost; ``answer`` computes the body of the answer."""

    bill: Bill
    answer: Callable[[], Awaitable[bytes]]


class Service:
    """A model being served. Use it in the event loop's thread only, unless stated otherwise.

    Args:
        vlm: the model.
        settings: accounts, form of the answers, and limits.
        clock: monotonic clock in seconds, for rate limits.
        adapter: an adapter of the model that classifies images; None: there is none.

    Attributes:
        accepts: kinds of prompts, see :attr:`craft_zoo.blackbox.BlackBox.accepts`.
        fingerprint: hash of the model's weights; "" if it is unknown.
        remembers: whether the model caches features, so that an image set may be encoded in several
            parts and the files of each part dropped.
    """

    def __init__(
        self,
        vlm: VLM,
        settings: ServeSettings,
        clock: Callable[[], float] = time.monotonic,
        adapter: DeployedAdapter | None = None,
    ) -> None:
        self.vlm, self.settings, limits = serving(vlm), settings, settings.limits
        vlm.retry_for(_RETRIED)
        self.name = settings.name or public_name(vlm.name)
        self.adapter = adapter
        # Part of ids and digests, so that stored answers of another model or form never match.
        self._served = json.dumps([vlm.name, settings.answers, settings.top_k])
        self.metrics = Metrics(lambda: self._worker.waiting)
        self.admission = Admission(limits)
        self.requests = RateLimit("requests", limits.requests_per_second, limits.burst, clock)
        # Opening a classifier is not billed.
        self._names = RateLimit(
            "new class names", limits.names_per_second, 2 * limits.classes, clock
        )
        self.cached: Counter[str] = Counter()  # images in the feature cache, by account
        self.image_sets: AccountCache[AccountImages] = AccountCache(
            limits.image_sets,
            ErrorCode.UNKNOWN_IMAGE_SET,
            "there is no image set of this id: announce it with POST /v1/image-sets",
            room=limits.opened_bytes,
        )
        self.classifiers: AccountCache[Opened] = AccountCache(
            limits.classifiers,
            ErrorCode.UNKNOWN_CLASSIFIER,
            "there is no classifier of this id: open it with POST /v1/classifiers",
            room=limits.opened_bytes,
        )
        # Classifiers of Hugging Face tasks, and texts of typed questions, which must not evict
        # those that a client has opened.
        self.tasks: AccountCache[Opened] = AccountCache(
            _TASKS,
            ErrorCode.UNKNOWN_CLASSIFIER,
            "",
            room=limits.opened_bytes // 8,
        )
        # By content, shared by all accounts and used by the worker's thread only. An object is kept
        # as long as it is in the cache of an account.
        self.encoded: WeakValueDictionary[Hashable, ImageSet] = WeakValueDictionary()
        self.opened: WeakValueDictionary[Hashable, Opened] = WeakValueDictionary()
        self.is_ready = self.is_closing = self._is_ending = False
        self._worker = self._new_worker()
        self._key_locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._answering: set[asyncio.Future[Recorded]] = set()

    async def start(self) -> None:
        """Open the database, start the threads and probe the model's capabilities.

        Raises:
            CraftZooError: the database cannot be used.
        """
        self.is_closing = self._is_ending = False
        self._loop = asyncio.get_running_loop()
        self.state = State(self.settings.state, self.settings.limits.stored_bytes)
        self._readers = ThreadPoolExecutor(_READERS, "craft-zoo-read")
        self._decoder = ThreadPoolExecutor(1, "craft-zoo-decode")
        self._database_thread = ThreadPoolExecutor(1, "craft-zoo-bill")
        self._worker.start()
        probing = partial(capabilities_of, self.vlm)
        self.accepts, self.remembers = await self.compute(_OWNER, "capabilities", probing)
        described = await self.compute(_OWNER, "capabilities", self.vlm.description)
        self.fingerprint = described.get("fingerprint", "")
        self.is_ready = True

    def close(self) -> None:
        """Refuse new requests; those in progress continue. May be called by a signal handler."""
        self.is_closing = True
        if self.is_ready:
            self._loop.call_soon_threadsafe(self.admission.shorten_timeouts)

    async def stop(self) -> None:
        """Stop. Requests still in progress after the grace period are refused and not billed."""
        self.close()
        self._is_ending = True
        await asyncio.to_thread(self._worker.stop)
        await asyncio.gather(*self._answering, return_exceptions=True)
        self.is_ready = False
        for pool in (self._readers, self._decoder, self._database_thread):
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
        self.state.close()
        self._worker = self._new_worker()  # a thread cannot be restarted, but the app can

    async def read(
        self, function: Callable[..., Result], *arguments: Any, size: int = _SMALL
    ) -> Result:
        """Run a function that parses or encodes ``size`` bytes, in another thread if many."""
        if size < _SMALL:
            return function(*arguments)
        return await self._in(self._readers, function, *arguments)

    async def decode(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function that decodes images, in the decoder's thread."""
        return await self._in(self._decoder, function, *arguments)

    async def compute(self, account: str, kind: str, function: Callable[[], Result]) -> Result:
        """Run a function in the model's thread when it is the account's turn.

        Raises:
            Refusal: the model rejects its input, or the server is being stopped.
        """
        return await self._done(Job(account, kind, whole(function)))

    async def ask(self, account: str, question: Question) -> np.ndarray:
        """Logits (P, N, C) of a question, possibly computed in one batch with other requests.

        Raises:
            Refusal: see :meth:`compute`.
        """
        logits = await self.score(
            account,
            partial(ask, self.vlm),
            question,
            self.vlm.batching_key(question),
            question.texts,
        )
        self.classifiers.make_room(account)  # the classifier may have grown while scoring
        return logits

    async def score(
        self,
        account: str,
        run: Run,
        payload: object,
        batching_key: Hashable,
        size: int,
        *,
        kind: str = "scores",
        room: int | None = None,
    ) -> Any:
        """Run ``run`` on a payload, possibly in one batch with others; see :class:`Job`.

        Args:
            size: number of texts or images; ``max_batch`` limits their sum in a batch.
            room: a lower limit of that sum; None: ``max_batch`` alone.

        Raises:
            Refusal: see :meth:`compute`.
        """
        if self.settings.max_batch == 1:
            batching_key = None
        return await self._done(
            Job(account, kind, run, payload, batching_key, size, room, is_brief=True)
        )

    async def score_image(
        self,
        account: str,
        image: UploadedImage,
        opened: Opened,
        prompt: Prompt,
        prompt_key: Hashable = None,
        *,
        keep: bool = False,
    ) -> np.ndarray:
        """(C,) float32 logits of one image, encoded together with those of other waiting requests.

        Args:
            image: the image, checked.
            opened: the model opened on C texts.
            prompt_key: identifies the prompt among those of the same classifier.
            keep: whether the model may cache the image's features.

        Raises:
            Refusal: see :meth:`compute`.
        """

        def run(images: Sequence[UploadedImage]) -> Generator[None, None, Sequence[np.ndarray]]:
            encoded = self.vlm.images(images, keep=keep)
            yield
            return list(opened.box.score(prompt, encoded))

        logits: np.ndarray = await self.score(account, run, image, (opened, prompt_key, keep), 1)
        return logits

    def interlude(self, *_: int) -> None:
        """Let short jobs run during a long one. Called in the worker's thread."""
        self._worker.interlude()

    async def open(
        self,
        account: str,
        classnames: tuple[str, ...],
        init: str = DEFAULT_INIT,
        cache: AccountCache[Opened] | None = None,
    ) -> tuple[str, Opened]:
        """Open the model on class names for an account; return the classifier's id and itself.

        It is stored in ``cache``, by default ``classifiers``.

        Raises:
            Refusal: the model rejects them, or the account exceeds ``names_per_second``.
        """
        cache = self.classifiers if cache is None else cache
        id = content_id("classifier", account, self._served, init, *classnames)
        if cache.find(account, id) is None:
            self._names.take(account, len(classnames))
        make = partial(self.vlm.opening, classnames, init)
        return id, await self._open(account, cache, id, (classnames, init), make)

    async def open_texts(self, account: str, texts: tuple[str, ...]) -> Opened:
        """Open the model on whole texts for an account, see :meth:`ServingVLM.opening_texts`.

        Raises:
            Refusal: the model rejects them.
        """
        id = content_id("texts", account, self._served, *texts)
        make = partial(self.vlm.opening_texts, texts)
        return await self._open(account, self.tasks, id, ("texts", texts), make)

    async def _open(
        self,
        account: str,
        cache: AccountCache[Opened],
        id: str,
        content: Hashable,
        make: Callable[[], Generator[None, None, BlackBox]],
    ) -> Opened:
        """Open the model in steps, unless an account has it open on the same content."""

        def run(_: Sequence[Any]) -> Generator[None, None, list[Opened]]:
            opened = self.opened.get(content)
            if opened is None:
                # Another account's job may have opened it while this one was interrupted.
                opened = self.opened.setdefault(content, Opened((yield from make())))
            return [opened]

        opened: Opened | None = cache.find(account, id)
        if opened is None:
            opened = await self._done(Job(account, "classifier", run))
        cache.put(account, id, opened)
        return opened

    def may_cache(self, account: str, images: int) -> bool:
        """Whether further images of an account may enter the model's feature cache."""
        sets = self.image_sets.all_of(account)
        announced = sum(each.awaited for each in sets if each.is_cached)
        total = self.cached[account] + announced + images
        return total <= self.settings.limits.cached_images

    def digest_of(self, *about: str) -> bytes:
        """Digest of all that determines an answer: the model, the settings and the question."""
        return hashlib.sha256(json.dumps([self._served, *about]).encode()).digest()

    async def finish(self, answering: Coroutine[Any, Any, Recorded]) -> Recorded:
        """Await an answer, which is stored even if the client disconnects: it will retry."""
        task = asyncio.ensure_future(answering)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return await asyncio.shield(task)

    async def answer_once(
        self,
        account: Account,
        key: str | None,
        digest: bytes,
        prepare: Callable[[], Awaitable[Prepared]],
        check_connected: Callable[[], Awaitable[None]],
    ) -> Recorded:
        """Answer and bill a request, or return the stored answer of the same idempotency key.

        Await it by :meth:`finish`, so that no client stops it by disconnecting.

        Args:
            key: its idempotency key; None: the answer is not stored, and a client that has
                disconnected is not billed, as nobody can get the answer.
            digest: see :meth:`digest_of`.
            prepare: validates the question; called only if its answer must be computed.
            check_connected: raises an exception if the client has disconnected.

        Raises:
            Refusal: the request was not answered; nothing was billed.
        """
        name, own_key = account.name, key or f"unnamed {secrets.token_hex(16)}"
        async with self._key_locks.setdefault((name, own_key), asyncio.Lock()):
            known, used = await self.in_database(self.state.find, name, own_key, digest)
            if known and known.body is not None:
                return known
            prepared = await prepare()
            if known is None:
                check_quota(account, used, prepared.bill)
            body = await prepared.answer()
            if key is None:
                await check_connected()
            entry = Entry(account, own_key, digest, prepared.bill, body, key is not None)
            recorded = await self._record(entry)
            if known is None:
                self.metrics.predictions.labels(name).inc(prepared.bill.predictions)
            return recorded

    async def _record(self, entry: Entry) -> Recorded:
        """Record a request, together with those that wait for the disk."""
        if self._is_ending:  # once it waits, the recording of another request would bill it
            raise busy("the server is being stopped")
        return await self.in_database(self.state.record_waiting, self.state.enqueue(entry))

    async def in_database(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function of the database in its thread.

        Raises:
            Refusal: the database fails, or the server is being stopped.
        """
        try:
            return await self._in(self._database_thread, function, *arguments)
        except sqlite3.Error:
            _LOG.exception("the state cannot be used")
            raise busy("the server cannot write to its disk") from None

    async def _in(
        self, pool: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        if self._is_ending:
            raise busy("the server is being stopped")
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    def _new_worker(self) -> Worker:
        threads = computing_threads()  # new threads may start with another number
        return Worker(
            self.settings.max_batch,
            lambda: compute_on(threads),
            self.metrics.observe_call,
        )

    async def _done(self, job: Job) -> Any:
        try:
            return await asyncio.wrap_future(self._worker.submit(job))
        except StoppedError:
            raise busy("the server is being stopped") from None
        except ForgottenImageError:
            raise
        except (PromptError, BrokenImageError) as error:
            raise bad(str(error), 400) from None
        except UnavailableError as error:
            _LOG.error("%s", error)  # for the owner, as are those below
            why = "the service that computes the answers does not answer"
            raise busy(why, _LATER) from None
        except CraftZooError as error:
            raise RuntimeError("the model cannot be used") from error
