"""A service that returns vectors of images and texts, as a model that accepts text prompts."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import astuple
from pathlib import Path
from typing import Unpack

import numpy as np

from craft_zoo.blackbox.base import Asked, BlackBox, ImageSet, Progress, check_given, own_images
from craft_zoo.blackbox.load import ModelSpec
from craft_zoo.blackbox.templates import DEFAULT_INIT, filled
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.files import ImageFiles
from craft_zoo.client.paid import SAMPLE, TOGETHER, PaidSettings, PaidVLM, prompt_for
from craft_zoo.client.response_log import ResponseLog
from craft_zoo.client.services import address, answer_options, cost_limit, read_options
from craft_zoo.client.vector_service import (
    BATCH_BYTES,
    Input,
    VectorService,
    decoded,
    encoded,
    images_in,
)
from craft_zoo.client.word_box import WordBox
from craft_zoo.counts import counted
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.threads import prefetched

_PASSING = 4096  # a server classifies one set of images after another


class VectorVLM(PaidVLM):
    """A service that returns vectors of images and texts, as a model that accepts text prompts.

    Logits are scale · cosine of the vectors of image and filled template. Each image file and each
    text is sent once: its vector is kept in memory, and on disk while a run is not complete
    (:meth:`keep_responses`), so that a restarted process sends only what has no vector yet.

    Args:
        service: the protocol.
        settings: see :class:`PaidSettings`.

    Raises:
        CraftZooError: an argument is out of range.
    """

    in_flight = TOGETHER
    sells_vectors = True

    def __init__(self, service: VectorService, **settings: Unpack[PaidSettings]) -> None:
        super().__init__(service.name, **settings)
        self.service, self.scale = service, service.options.scale
        self._vectors: dict[bytes, np.ndarray] = {}  # by the hash of a file or text
        self._passing: dict[bytes, None] = {}  # images whose vectors may be dropped, oldest first
        self._found: dict[str | None, Usage] = {}  # billed by an earlier process, by query
        self._embedding = threading.Lock()

    @property
    def _log_query(self) -> str:
        """The name in the log of all queries of a run, which share their vectors."""
        return f"vectors of {self.name}"

    def keep_responses(self, path: Path) -> None:
        """See :meth:`VLM.keep_responses`."""
        self._log = ResponseLog(path)
        found: defaultdict[str | None, Usage] = defaultdict(Usage)
        responses = self._log.responses() if self._log.query == self._log_query else []
        for name, keys, rows, usage in responses:
            found[name] += Usage(*usage)
            for key, row in zip(keys, rows, strict=True):
                self._vectors[bytes.fromhex(key)] = decoded(row)
        self._found = found

    @property
    def image_bytes(self) -> int:
        """See :attr:`PaidVLM.image_bytes`."""
        return self.service.image_bytes

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageFiles:
        """See :meth:`VLM.images`. With ``keep=False``, only the last images' vectors are kept."""
        files = super().images(images, progress, keep=keep)
        if keep:
            for key in files.keys:
                self._passing.pop(key, None)
            return files
        for key in files.keys:
            if key in self._passing or key not in self._vectors:
                self._passing.pop(key, None)
                self._passing[key] = None
        while len(self._passing) > _PASSING:
            oldest = next(iter(self._passing))
            del self._passing[oldest]
            self._vectors.pop(oldest, None)
        return files

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        return _Texts(self, classnames, init)

    def features(self, images: ImageSet) -> np.ndarray:
        """See :meth:`VLM.features`."""
        name = self._keys.take_name()
        files = own_images(images, ImageFiles, self)
        self._embed(files, (), name)
        return self._rows(files.keys)

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """See :meth:`VLM.text_features`."""
        check_given(texts, "texts")
        self._embed(None, texts, self._keys.take_name())
        return self._rows([_key(text) for text in texts])

    def expected_usage(
        self,
        asked: Sequence[Asked],
        images: Sequence[ImageSource],
        classnames: Sequence[str],
        init: str = DEFAULT_INIT,
    ) -> Usage:
        """See :meth:`VLM.expected_usage`. Each image is sent once, and each text.

        Images are sampled, as their sizes matter alone.
        """
        sample = self._sample(images)
        usage = super().expected_usage(asked, images, classnames, init)
        empty = self.service.expected([])  # usage of a request without inputs
        size = sum(map(len, sample)) / SAMPLE
        together = max(1, min(self.service.batch(sample[0]), int(BATCH_BYTES / size)))
        usage += (self.service.expected(sample) - empty).scaled(len(images) / SAMPLE)
        usage += empty * math.ceil(len(images) / together)
        texts: set[str] = set()
        for prompts, names, times in asked:
            names = tuple(classnames) if names is None else names
            own = {text for prompt in prompts for text in filled(prompt_for(names, prompt), names)}
            usage += self._of_texts(own - texts) + self._of_texts(own) * (times - 1)
            texts |= own
        return usage

    def _of_texts(self, texts: Set[str]) -> Usage:
        usage = Usage()
        for batch in self.service.batches((b"", text) for text in sorted(texts)):
            usage += self.service.expected([text for _, text in batch])
        return usage

    def logits(
        self, texts: Sequence[Sequence[str]], images: ImageFiles, name: str | None
    ) -> Iterator[np.ndarray]:
        """Logits (N, C) of N images and of each sequence of C texts.

        Args:
            texts: P sequences of C texts.
            images: N images.
            name: name of the query, see :meth:`next_question`.

        Raises:
            CraftZooError: the service does not answer, its answer is invalid, or a limit of the
                cost would be exceeded.
        """
        asked = Usage(predictions=len(texts) * len(images))
        self.cost_limit.charge(asked)
        try:
            self._embed(images, [text for each in texts for text in each], name)
        except CraftZooError:  # there are no answers, whatever was paid for
            self.cost_limit.record(Usage() - asked)
            raise
        of_images = self._rows(images.keys)
        for each in texts:
            of_texts = self._rows([_key(text) for text in each])
            if of_images.shape[1] != of_texts.shape[1]:
                raise CraftZooError(
                    f"{self.name} has vectors of {of_images.shape[1]} numbers for images and of "
                    f"{of_texts.shape[1]} for texts: use a model that embeds both together"
                )
            yield self.scale * of_images @ of_texts.T

    def _rows(self, keys: Sequence[bytes]) -> np.ndarray:
        rows = [self._vectors[key] for key in keys]
        if len({len(row) for row in rows}) > 1:
            raise CraftZooError(f"the vectors of {self.name} differ in length: ask its owner")
        return np.stack(rows)

    def _embed(self, images: ImageFiles | None, texts: Sequence[str], name: str | None) -> None:
        """Send the images and texts that have no vector yet."""
        stop = threading.Event()

        def missing() -> Iterator[list[tuple[bytes, Input]]]:
            if images:
                yield from self.service.batches(
                    (key, images.file(place))
                    for key, place in images.first.items()
                    if key not in self._vectors
                )
            new = {_key(text): text for text in texts}
            yield from self.service.batches(
                (key, text) for key, text in new.items() if key not in self._vectors
            )

        def send(batch: list[tuple[bytes, Input]]) -> None:
            self._send(batch, name, stop)

        with self._embedding:  # so that no other query sends the same
            self._log.begin(self._log_query)
            self.cost_limit.record(self._found.pop(name, Usage()))
            try:
                for _ in prefetched(send, missing(), self._concurrency, stop=stop):
                    pass
            finally:
                stop.set()

    def _send(
        self, batch: list[tuple[bytes, Input]], name: str | None, stop: threading.Event
    ) -> None:
        keys, inputs = [key.hex() for key, _ in batch], [given for _, given in batch]
        idempotency = self._keys.key(self.name.encode() + json.dumps(keys).encode(), name)
        found = self._pay(
            lambda: self.service.send(inputs, idempotency), self.service.expected(inputs), stop
        )
        what = counted(len(inputs), "image" if images_in(inputs) else "text")
        tokens = found.usage.input_tokens
        self._say(
            f"returns vectors of {found.rows.shape[1]:,} numbers; {tokens:,} tokens for {what}"
        )
        if self._log.on_disk:
            rows = [encoded(row) for row in found.rows]
            self._log.put(idempotency, [name, keys, rows, astuple(found.usage)])
        self._vectors.update((key, row) for (key, _), row in zip(batch, found.rows, strict=True))


class _Texts(WordBox):
    _owner: VectorVLM

    def _answers(
        self, prompts: Sequence[str | tuple[str, ...]], images: ImageFiles, name: str | None
    ) -> Iterator[np.ndarray]:
        texts = [filled(prompt, self.classnames) for prompt in prompts]
        return self._owner.logits(texts, images, name)


def _key(text: str) -> bytes:
    """Key of a text's vector; image files are found by the hash of their content."""
    return hashlib.sha256(b"text\0" + text.encode()).digest()


def open_vectors(spec: ModelSpec, kind: type[VectorService]) -> VectorVLM:
    """Open a service of vectors as a model.

    Args:
        spec: the model.
        kind: the service's protocol.
    """
    model, url = address(spec, kind.scheme, needs_url=kind.vendor_url is None)
    options = read_options(spec, kind.options_type)
    service = kind(model, url, options=options)
    vlm = VectorVLM(
        service,
        concurrency=options.concurrency,
        cost_limit=cost_limit(spec),
        max_side=options.max_side,
    )
    vlm.answer_options = answer_options(options)
    return vlm
