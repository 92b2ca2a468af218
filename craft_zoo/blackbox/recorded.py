"""A model behind a journal: what was answered once is not asked again."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence

import numpy as np

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    Prompts,
    WrappedBlackBox,
)
from craft_zoo.blackbox.checked import checked
from craft_zoo.blackbox.journal import Journal
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.data.images import ImageSource

_ANSWER_BYTES = 2**26  # that a request may bring, as it is held whole until it is written


class RecordedVLM(VLM):
    """A model whose answers are kept in a journal, and come from there as long as it has them.

    Args:
        vlm: the model.
        journal: what was asked of it before by the same program.
        in_flight: contexts that a request holds, which a kill may lose together; None: as many as
            the model likes to be asked at once, :attr:`VLM.in_flight`.
    """

    def __init__(self, vlm: VLM, journal: Journal, in_flight: int | None = None) -> None:
        self._vlm, self._journal = vlm, journal
        self.name, self.image_size = vlm.name, vlm.image_size
        self.in_flight = in_flight or vlm.in_flight
        self._names = _Names(journal)

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        """As :meth:`VLM.images`; while the journal answers, the model is not bothered with them."""
        if not self._journal.replaying:
            return self._vlm.images(images, progress, keep=keep)
        return _Later(self._vlm, images, progress, keep)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        box = self._vlm.classifier(classnames, init)
        names = self._names if self._vlm.bills else None
        return _RecordedBox(box, self._journal, self.in_flight, init, self._vlm, names)


class _Names:
    """A name for each request, the same when the program is begun again.

    A request that was under way when the program was killed is then not paid twice.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._session: str | None = None
        self._count = 0  # since the program's beginning, what the journal answered included

    def next(self) -> str:
        if self._session is None:
            self._session = str(self._journal.note({"session": secrets.token_hex(16)})["session"])
        self._count += 1
        return f"{self._session}/{self._count}"


class _Later(ImageSet):
    """Images that are handed over when the model is first asked about them."""

    def __init__(
        self, vlm: VLM, sources: Sequence[ImageSource], progress: Progress | None, keep: bool
    ) -> None:
        self.sources = sources
        self._vlm, self._progress, self._keep = vlm, progress, keep
        self._handed: ImageSet | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def handed(self) -> ImageSet:
        if self._handed is None:
            self._handed = self._vlm.images(self.sources, self._progress, keep=self._keep)
        return self._handed


class _RecordedBox(WrappedBlackBox):
    def __init__(
        self,
        box: BlackBox,
        journal: Journal,
        in_flight: int,
        init: str,
        vlm: VLM,
        names: _Names | None,
    ) -> None:
        super().__init__(box)
        self._journal, self._in_flight, self._vlm, self._names = journal, in_flight, vlm, names
        self._opened = json.dumps([init, *box.classnames]).encode()

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`; asked in requests of a size that prompts do not change."""
        size = 4 * len(images) * len(self.classnames)
        together = max(1, min(self._in_flight, _ANSWER_BYTES // size))
        for first in range(0, len(prompts), together):
            yield from self._request(prompts[first : first + together], images)

    def _request(self, prompts: Prompts, images: ImageSet) -> np.ndarray:
        shape = len(prompts), len(images), len(self.classnames)
        digest = self._digest(prompts)
        name = self._names.next() if self._names else None
        answer = self._journal.answer(digest, shape)
        if answer is None:
            handed = images.handed if isinstance(images, _Later) else images
            self._journal.ask(digest, shape)
            if name is not None:
                self._vlm.next_question(name)
            answer = np.stack(list(checked(self._box.logits(prompts, handed), shape)))
            self._journal.keep(answer)
        return answer

    def _digest(self, prompts: Prompts) -> bytes:
        digest = hashlib.blake2b(self._opened, digest_size=16)
        if isinstance(prompts, np.ndarray):
            digest.update(str(prompts.shape).encode())
            digest.update(np.ascontiguousarray(prompts, dtype="<f4").tobytes())
        else:
            digest.update(json.dumps(list(prompts)).encode())
        return digest.digest()
