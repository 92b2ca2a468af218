"""A model with a journal, which replays the answers of an interrupted run."""

from __future__ import annotations

import hashlib
import json
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress, Prompts, checked
from craft_zoo.blackbox.identity import check_described
from craft_zoo.blackbox.journal import Journal
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.usage import Usage
from craft_zoo.blackbox.wrappers import WrappedBlackBox, WrappedVLM
from craft_zoo.data.images import ImageSource, as_images, content_key
from craft_zoo.errors import CraftZooWarning

_ANSWER_BYTES = 2**26  # limit of an answer, which is held in memory until it is written
# Limit of a journal of answers that cost computing time alone; paid answers are all recorded.
_JOURNAL_BYTES = 2**33
_HASH = 16  # hexadecimal digits of a hash of an initial context
_SERVED = "served"  # name of the description in a note
_DECIMALS = "decimals"  # name of VLM.decimals in a note
_REFUSED = "refused"  # name of the number of refused questions in a note


class ReplayVLM(WrappedVLM):
    """A model whose answers are recorded in a journal, and replayed from it where available.

    A request has ``in_flight`` contexts and ``images_in_flight`` images, and a kill or a failure
    loses the answer of the current request only. The first request records both numbers in the
    journal. A restarted program uses the recorded numbers, even if the arguments or the model's
    attributes have changed, because the requests must be the same.

    The first request also records the :meth:`VLM.identity` of the model, and a restarted program
    first checks that it is the same.

    If the model bills nothing, the journal records at most 8 GB: a restarted program computes the
    later answers again.

    Args:
        vlm: the model.
        journal: journal of the program's earlier run, or a new one.
        in_flight: number of contexts in a request; None: the model's :attr:`VLM.in_flight`.

    Attributes:
        predictions: (prompt, image) pairs, which a service bills, including replayed ones.
        billed: what the service billed, including for replayed answers.
    """

    def __init__(self, vlm: VLM, journal: Journal, in_flight: int | None = None) -> None:
        super().__init__(vlm)
        self._journal = journal
        journal.limit = None if vlm.bills else _JOURNAL_BYTES
        self.in_flight = in_flight or vlm.in_flight
        self.predictions = 0
        self._usage = Usage()
        self._settled = False
        self._session: str | None = None
        self._noted: int | None = None  # decimals in the journal
        self._requests = 0  # requests that have names, including replayed ones
        self._handed: WeakKeyDictionary[ImageSet, _Parts] = WeakKeyDictionary()
        vlm.keep_responses(journal.responses)

    @property
    def billed(self) -> Usage:
        """See :attr:`VLM.billed`."""
        return self._usage

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        """As :meth:`VLM.images`; while the journal replays, the model does not get them yet."""
        parts = _Parts(self, as_images(images), progress, keep)
        if not self._journal.replaying:
            parts.hand_over()
        return parts

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        return _ReplayBox(self._vlm.classifier(classnames, init), self, init)

    def independent(self, texts: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.independent`."""
        return _ReplayBox(self._vlm.independent(texts, init), self, init)

    def features(self, images: ImageSet) -> np.ndarray:
        """See :meth:`VLM.features`. The model keeps its vectors itself; the usage is recorded."""
        self._settle()
        parts, before = self._parts_of(images), self._vlm.billed
        vectors = []
        for place in range(len(parts.places)):
            self._name_next(self._next_name())
            vectors.append(self._vlm.features(parts.handed(place, images)))
        self._note_usage(self._vlm.billed - before)
        return np.concatenate(vectors)

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """See :meth:`VLM.text_features`. The model keeps its vectors itself, as with features."""
        self._settle()
        before = self._vlm.billed
        self._name_next(self._next_name())
        vectors = self._vlm.text_features(texts)
        self._note_usage(self._vlm.billed - before)
        return vectors

    def feature_lengths(self, images: ImageSet) -> np.ndarray | None:
        """See :meth:`VLM.feature_lengths`. They are recorded, as encoding the images takes long."""
        self._settle()
        if self._journal.replaying:
            lengths = self._journal.note({"lengths": []})["lengths"]
            return np.array(lengths, dtype=np.float32)
        parts = self._parts_of(images)
        found: list[np.ndarray] = []
        for place in range(len(parts.places)):
            some = self._vlm.feature_lengths(parts.handed(place, images))
            if some is None:
                return None
            found.append(some)
        lengths = np.concatenate(found)
        self._journal.note({"lengths": lengths.tolist()})
        return lengths

    def remembered(self, make: Callable[[], str], example: str) -> str:
        """See :meth:`VLM.remembered`. The text and its cost are recorded."""
        text, billed = "", Usage()
        if not self._journal.replaying:
            before = self._vlm.billed
            text = make()
            billed = self._vlm.billed - before
        noted = self._journal.note({"remembered": text, "usage": astuple(billed)})
        self._usage += Usage(*noted["usage"])
        return str(noted["remembered"])

    def _note_usage(self, billed: Usage) -> None:
        """Count what the model billed, according to the journal where it replays."""
        if self.counts_usage:
            self._usage += Usage(*self._journal.note({"usage": astuple(billed)})["usage"])

    def _record_decimals(self) -> None:
        """Record the decimals that an answer has shown, which the recorded answer may not show."""
        if self._journal.replaying:
            self._noted = self._journal.noted(_DECIMALS) or self._noted
            self.note_decimals(self._noted)
        elif self.decimals != self._noted:
            self._noted = self._journal.note({_DECIMALS: self.decimals})[_DECIMALS]

    def _record_refused(self, before: int) -> None:
        """Record how many questions of a request were refused, or count those of a recorded one.

        Args:
            before: :attr:`VLM.refused` before the request.
        """
        if self._journal.replaying:
            self._vlm.refused += self._journal.noted(_REFUSED) or 0
        elif refused := self._vlm.refused - before:
            self._journal.note({_REFUSED: refused})

    def _next_name(self) -> str | None:
        """The next request's name, which is the same when the program is restarted.

        A service therefore bills a request that was interrupted by a kill only once. None: the
        model bills nothing.
        """
        if not self.bills:
            return None
        if self._session is None:
            self._session = str(self._journal.note({"session": secrets.token_hex(16)})["session"])
        self._requests += 1
        return f"{self._session}/{self._requests}"

    def _name_next(self, name: str | None) -> None:
        if name is not None:
            self._vlm.next_question(name)

    def _settle(self, box: BlackBox | None = None) -> None:
        """Check the model, and use the recorded request sizes.

        Only a query calls it, so unused journals stay empty.

        Args:
            box: the classifier that is asked first, if one is.

        Raises:
            CraftZooError: the journal was begun with another model.
        """
        if not self._settled:
            sizes = {"in_flight": self.in_flight, "images_in_flight": self.images_in_flight}
            described = self.identity()
            if described and box is not None and box.initial_context.size:
                context = np.ascontiguousarray(box.initial_context, dtype="<f4")
                described["initial_context"] = hashlib.sha256(context.tobytes()).hexdigest()[:_HASH]
            value = sizes | ({_SERVED: described} if described else {})
            noted = self._journal.note(value, later=[_SERVED])
            path = self._journal.path
            if described and _SERVED not in noted:
                warnings.warn(
                    f"{path} was begun by an earlier version, which did not record "
                    f"which model {self.name} was: make sure that it is still the same",
                    CraftZooWarning,
                    stacklevel=2,
                )
            mend = f"continue with that one, or remove {path} to begin anew"
            then = noted.get(_SERVED, {})
            check_described(self.name, then, described, f"{path} was begun", mend)
            self.in_flight, self.images_in_flight = noted["in_flight"], noted["images_in_flight"]
            self._settled = True

    def _parts_of(self, images: ImageSet) -> _Parts:
        """The parts of an image set, which may also be one that the wrapped model made."""
        if isinstance(images, _Parts):
            return images
        if images not in self._handed:
            self._handed[images] = _Parts(self, images.sources)
        return self._handed[images]


class _Parts(ImageSet):
    """Images split into parts, one for each request. Each part is an image set of the model.

    The model receives all parts when it first scores one of them, if not earlier.
    """

    def __init__(
        self,
        owner: ReplayVLM,
        sources: Sequence[ImageSource],
        progress: Progress | None = None,
        keep: bool = True,
    ) -> None:
        super().__init__(sources, owner)
        self._vlm, self._progress, self._keep = owner._vlm, progress, keep
        self._sets: list[ImageSet] = []

    @cached_property
    def digest(self) -> bytes:
        """Hash of the images' content and their order.

        File names and sizes do not suffice: uncompressed images of one camera have equal ones.
        """
        digest = hashlib.blake2b(digest_size=16)
        for source in self.sources:
            about = content_key(source)
            digest.update(len(about).to_bytes(8, "little"))
            digest.update(about)
        return digest.digest()

    @cached_property
    def places(self) -> list[slice]:
        """Index range of each part. Call it after the owner's ``_settle`` has fixed the sizes."""
        size = self.owner.images_in_flight or len(self)
        return [slice(at, min(at + size, len(self))) for at in range(0, len(self), size)]

    def hand_over(self) -> None:
        """Pass all parts to the model, once."""
        if not self._sets:
            self._sets = [self._give(place) for place in self.places]

    def handed(self, part: int, asked: ImageSet) -> ImageSet:
        """The model's image set of a part.

        Args:
            part: index of the part.
            asked: the image set of the query: these parts, or the model's own set from which they
                were made.
        """
        if asked is not self and len(self.places) == 1:
            return asked
        self.hand_over()
        return self._sets[part]

    def _give(self, place: slice) -> ImageSet:
        progress = self._progress

        def report(done: int, of: int) -> None:
            assert progress is not None
            progress(place.stop if done >= of else place.start + done, len(self))

        return self._vlm.images(self.sources[place], progress and report, keep=self._keep)


class _ReplayBox(WrappedBlackBox):
    def __init__(self, box: BlackBox, owner: ReplayVLM, init: str) -> None:
        super().__init__(box)
        self._owner = owner
        # The defaults are left out, as in older journals.
        options = [owner.answer_options] if owner.answer_options else []
        options += [owner.precision] if owner.precision != "fp32" else []
        self._opened = json.dumps([owner.name, *options, init, *box.classnames]).encode()

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`. The size of requests does not depend on the prompts."""
        if not len(prompts):
            return
        self._owner._settle(self._box)
        parts = self._owner._parts_of(images)
        size = 4 * max(1, len(parts)) * len(self.classnames)
        together = max(1, min(self._owner.in_flight, _ANSWER_BYTES // size))
        for first in range(0, len(prompts), together):
            some = prompts[first : first + together]
            answers = [self._request(some, parts, at, images) for at in range(len(parts.places))]
            yield from np.concatenate(answers, axis=1)

    def _request(self, prompts: Prompts, parts: _Parts, part: int, images: ImageSet) -> np.ndarray:
        """(P, n, C) logits of the n images of a part, see :meth:`_Parts.handed`."""
        owner, journal, place = self._owner, self._owner._journal, parts.places[part]
        shape = len(prompts), place.stop - place.start, len(self.classnames)
        digest = self._digest(prompts, parts, place)
        name = owner._next_name()
        answer, billed = journal.answer(digest, shape), Usage()
        refused = owner._vlm.refused
        if answer is None:
            handed = parts.handed(part, images)
            journal.ask(digest, shape)
            owner._name_next(name)
            before = owner._vlm.billed
            answer = np.stack(list(checked(self._box.logits(prompts, handed), shape)))
            journal.keep(answer)
            billed = owner._vlm.billed - before
        owner._record_decimals()
        owner._record_refused(refused)
        owner._note_usage(billed)
        owner.predictions += shape[0] * shape[1]
        return answer

    def _digest(self, prompts: Prompts, parts: _Parts, place: slice) -> bytes:
        digest = hashlib.blake2b(self._opened, digest_size=16)
        digest.update(parts.digest + place.start.to_bytes(8, "little"))
        if isinstance(prompts, np.ndarray):
            digest.update(str(prompts.shape).encode())
            digest.update(np.ascontiguousarray(prompts, dtype="<f4").tobytes())
        else:
            digest.update(json.dumps(list(prompts)).encode())
        return digest.digest()
