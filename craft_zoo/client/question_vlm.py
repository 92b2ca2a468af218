"""A service that answers questions about an image, as a model that accepts text prompts."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple, Unpack

import numpy as np
from PIL import Image

from craft_zoo.blackbox.base import Asked, BlackBox, check_given
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import FilteredError, useless
from craft_zoo.client.files import ImageFiles, size_of
from craft_zoo.client.paid import (
    SAMPLE,
    TOGETHER,
    PaidSettings,
    PaidVLM,
    Reply,
    prompt_for,
)
from craft_zoo.client.probabilities import UNROUNDED, decimals_of, floor_of
from craft_zoo.client.question_boxes import NONE, ClassBox, StatementBox
from craft_zoo.client.question_service import ImageQuestion, QuestionService
from craft_zoo.counts import counted
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError, RefusedError
from craft_zoo.printable import sentence
from craft_zoo.threads import prefetched

_LOG = logging.getLogger("craft_zoo.blackbox")
_SMALL_SIDE = 512  # pixels, in advice on the size of images
_MANY_TOKENS = 500  # that advice must save in a request


class QuestionVLM(PaidVLM):
    """A service that answers questions about an image, as a model that accepts text prompts.

    A prompt on C classes becomes a question with C options. The questions of up to 64 prompts are
    asked in one request per image, as far as the service takes them. Class probabilities are
    returned as logarithms. Texts that do not exclude each other (anchors) become
    statements, and their logits are log-odds.

    More classes than the service takes options are divided into blocks, each a question with the
    further option "none of these", and the log-odds against that option are returned.

    Services may round probabilities: those that are 0 count as half a unit of the last decimal. A
    refused question counts as equal probabilities of all options.

    What the service does is logged in one line as soon as the first image is answered. It is read
    from these answers, so that no request is made for it.

    Each response is recorded as it arrives (:meth:`keep_responses`), so that a restarted process
    asks again only for what was not answered.

    Args:
        service: the protocol.
        descriptions: text that describes a class, by class name; it stands before the filled
            template.
        permutations: number of orders of the options in which each question is asked, at most as
            many as there are options; the probabilities are averaged. All orders belong to one
            query.
        settings: see :class:`PaidSettings`.

    Raises:
        CraftZooError: an argument is out of range.
    """

    asks_texts_apart = True

    def __init__(
        self,
        service: QuestionService,
        *,
        descriptions: Mapping[str, str] | None = None,
        permutations: int = 1,
        **settings: Unpack[PaidSettings],
    ) -> None:
        super().__init__(service.name, **settings)
        if permutations < 1:
            raise CraftZooError(
                f"permutations of {self.name} must be at least 1, not {permutations}"
            )
        self.service = service
        self.descriptions = dict(descriptions or {})
        self.refused = self._asked = 0
        self._advised = False
        self._permutations = permutations
        self.in_flight = max(1, min(TOGETHER, service.limits.questions // permutations))
        self.images_in_flight = 2 * self._concurrency

    @property
    def image_bytes(self) -> int:
        """See :attr:`PaidVLM.image_bytes`."""
        return self.service.limits.image_bytes

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        return ClassBox(self, classnames, init)

    def independent(self, texts: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.independent`."""
        check_given(texts, "texts")
        return StatementBox(self, texts, init)

    def expected_usage(
        self,
        asked: Sequence[Asked],
        images: Sequence[ImageSource],
        classnames: Sequence[str],
        init: str = DEFAULT_INIT,
    ) -> Usage:
        """See :meth:`VLM.expected_usage`. Images are sampled, as their sizes matter alone."""
        sample = self._sample(images)
        usage = Usage()
        for prompts, texts, times in asked:
            kind = ClassBox if texts is None else StatementBox
            box = kind(self, classnames if texts is None else texts, init)
            for first in range(0, len(prompts), self.in_flight):
                some = prompts[first : first + self.in_flight]
                groups = [box.questions_of(prompt_for(box.classnames, prompt)) for prompt in some]
                usage += Usage(predictions=len(some)) * SAMPLE * times
                for part, image in product(_parts(groups, self.service.limits.questions), sample):
                    usage += self._expected(image, part.questions) * times
                    self._advise(image, part.questions)
        return usage.scaled(len(images) / SAMPLE)

    def _expected(self, image: bytes, questions: Sequence[ImageQuestion]) -> Usage:
        return self.service.expected(self.service.request(image, questions), image)

    def _advise(self, image: bytes, questions: Sequence[ImageQuestion]) -> None:
        """Log once that requests with a large image would cost much less with a smaller one."""
        if self._advised or self._side is not None:
            return
        size, reduced = size_of(image), io.BytesIO()
        if max(size) <= _SMALL_SIDE:
            return
        blank = Image.new("1", size)  # as sizes matter alone
        blank.thumbnail((_SMALL_SIDE, _SMALL_SIDE))
        blank.save(reduced, "PNG")
        tokens = self._expected(image, questions).input_tokens
        fewer = self._expected(reduced.getvalue(), questions).input_tokens
        if tokens - fewer > _MANY_TOKENS and tokens > 2 * fewer:
            self._advised = True
            _LOG.warning(
                "%s: a request with an image of %d x %d pixels takes some %s tokens, and %s with "
                "images reduced to %d pixels, with which adapters are to be tuned, too "
                "(--model-option max_side=%d)",
                self.name,
                *size,
                f"{tokens:,}",
                f"{fewer:,}",
                _SMALL_SIDE,
                _SMALL_SIDE,
            )

    def ask(
        self, groups: Sequence[Sequence[ImageQuestion]], images: ImageFiles, name: str | None
    ) -> list[list[list[np.ndarray | None]]]:
        """Answers to several groups of questions, one of each prompt, about each of N images.

        Args:
            groups: groups of questions; a request contains as many as the service takes.
            images: N images; those with equal files are sent once.
            name: name of the query, see :meth:`next_question`.

        Returns:
            For each image, for each group, the probabilities of each question's options, or of a
            statement being true and false; None where the service refused to answer.

        Raises:
            CraftZooError: the service does not answer, its answer is invalid, or a limit of the
                cost would be exceeded.
        """
        parts = _parts(groups, self.service.limits.questions)
        places = list(images.first.values())
        self._log.begin(name)
        stop = threading.Event()

        def requests() -> Iterator[tuple[bytes, _Part]]:
            for place in places:
                content = images.file(place)
                for part in parts:
                    yield content, part

        def send(item: tuple[bytes, _Part]) -> Reply:
            return self._send(*item, name, stop)

        replies = prefetched(send, requests(), self._concurrency, stop=stop)
        answered: dict[int, list[list[np.ndarray | None]]] = {}
        unread: Reply | None = None
        try:
            for place in places:
                of_image = [next(replies) for _ in parts]
                unread = unread or next((one for one in of_image if None in one.answers), None)
                remaining = iter([_whole(one) for each in of_image for one in each.answers])
                answered[place] = [[next(remaining) for _ in group] for group in groups]
                self._describe(groups, answered[place], of_image)
        finally:
            stop.set()
        answers = [one for groups in answered.values() for group in groups for one in group]
        self._count_refused(answers, unread)
        self._floor(answers)
        return [answered[images.first[key]] for key in images.keys]

    def _floor(self, answers: list[np.ndarray | None]) -> None:
        """Replace the zeros in the answers of a query."""
        known = [one for one in answers if one is not None]
        if known:
            decimals = decimals_of(np.concatenate(known))
            if decimals is not None and not self.service.rounds:
                decimals = UNROUNDED  # one of three labels for four options is 3/10 by chance
            self.note_decimals(decimals)
        for one in known:
            np.maximum(one, floor_of(self.decimals), out=one)

    def _count_refused(self, answers: list[np.ndarray | None], first: Reply | None) -> None:
        """Count refused questions, and warn of the first one and whenever there are 10 times more.

        Args:
            answers: those of a query.
            first: its first reply with a refusal, if any.
        """
        self._asked += len(answers)
        if first is None:
            return
        refused = sum(answer is None for answer in answers)
        said = f" (it said {sentence(first.said, 60)!r})" if first.said else ""
        if refused == len(answers) > 1:
            raise RefusedError(
                f"{self.name} refused to answer all of {refused} questions{said}: "
                f"{first.mend or 'ask for other classes, or use another model'}"
            )
        if len(str(self.refused + refused)) > len(str(self.refused or "")):
            _LOG.warning(
                "%s refused %d of %s so far%s, which count as undecided%s",
                self.name,
                self.refused + refused,
                counted(self._asked, "question"),
                said,
                first.mend and f": {first.mend}",
            )
        self.refused += refused

    def _describe(
        self,
        groups: Sequence[Sequence[ImageQuestion]],
        answered: Sequence[Sequence[np.ndarray | None]],
        replies: Sequence[Reply],
    ) -> None:
        """Log once what the service does, from the replies about an image."""
        raw = [one for reply in replies for one in reply.answers if one is not None]
        if self._said or not raw:
            return
        most = max(len(question.options) for group in groups for question in group)
        decimals = decimals_of(np.concatenate(raw))
        rounded = "probabilities"
        if decimals is not None:
            rounded = (
                "unrounded probabilities"
                if decimals == UNROUNDED
                else f"probabilities of {counted(decimals, 'decimal')}"
            )
        sources = sorted({reply.source for reply in replies} - {""}) or [rounded]
        words = [f"answers {f'{most} options' if most else 'statements'} by {', '.join(sources)}"]
        refused = sum(one is None for reply in replies for one in reply.answers)
        if refused:
            words.append(f"refuses {refused} of {counted(len(raw) + refused, 'question')}")
        if self._permutations > 1 and most:
            change = [_change(*pair) for pair in zip(groups, answered, strict=True)]
            words.append(f"their order changes a probability by {np.mean(change):.3f}")
        tokens = sum(reply.usage.input_tokens + reply.usage.output_tokens for reply in replies)
        asked = -(-(len(raw) + refused) // len(replies))
        words.append(
            f"{round(tokens / len(replies)):,} tokens a request of {counted(asked, 'question')}"
        )
        self._say("; ".join(words))

    def _send(self, image: bytes, part: _Part, name: str | None, stop: threading.Event) -> Reply:
        request = self.service.request(image, part.questions)
        key = self._keys.key(json.dumps(request, sort_keys=True).encode(), name)

        def ask() -> Reply:
            try:
                reply = self.service.send(request, part.questions, key)
            except FilteredError as error:  # it may be billed, as Azure does
                return Reply([None] * len(part.questions), estimate, said=error.said)
            if len(reply.answers) != len(part.questions):
                raise useless(
                    f"it gave {len(reply.answers)} answers to {len(part.questions)} questions"
                )
            return reply

        estimate = self.service.expected(request, image)
        return self._pay_once(key, ask, estimate, stop, predictions=part.prompts)


class _Part(NamedTuple):
    """The questions of a request, and how many prompts they belong to."""

    questions: list[ImageQuestion]
    prompts: int


def _parts(groups: Sequence[Sequence[ImageQuestion]], most: int) -> list[_Part]:
    """Divide groups of questions into requests; a group is split only if it is too large alone."""
    parts: list[_Part] = []
    for group in groups:
        if parts and len(parts[-1].questions) + len(group) <= most:
            parts[-1] = _Part([*parts[-1].questions, *group], parts[-1].prompts + 1)
            continue
        for at in range(0, len(group), most):
            parts.append(_Part(list(group[at : at + most]), int(at == 0)))
    return parts


def _whole(answer: list[float] | None) -> np.ndarray | None:
    """Probabilities of the options, or of a statement being true and false."""
    if answer is None:
        return None
    return np.array([answer[0], 1 - answer[0]] if len(answer) == 1 else answer)


def _change(group: Sequence[ImageQuestion], answers: Sequence[np.ndarray | None]) -> float:
    """Mean standard deviation of an option's probability over the questions of a group."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for question, answer in zip(group, answers, strict=True):
        if answer is not None:
            for option, probability in zip(question.options, answer, strict=False):
                if option[0] != NONE:
                    found[option].append(probability)
    return float(np.mean([float(np.std(each)) for each in found.values()] or [0.0]))
