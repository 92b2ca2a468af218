"""A model behind a journal: restarted runs get the same responses and pay once."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from craft_zoo.blackbox import (
    DEFAULT_INIT,
    VLM,
    BlackBox,
    ImageSet,
    Journal,
    Progress,
    Prompts,
    ReplayVLM,
    replay,
)
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError

CLASSES = ["one", "two"]


class Died(BaseException):
    """Simulates that the process is killed."""


class Service(VLM):
    """Scores that depend on words and images; it dies when a limit of predictions is exceeded.

    Attributes:
        left: predictions until it dies.
        asked: name, prompts and images of each question.
        sets: images of each uploaded set.
    """

    def __init__(
        self,
        in_flight: int = 1,
        images_in_flight: int | None = None,
        *,
        left: int = 10**9,
        name: str = "service",
        bills: bool = False,
    ) -> None:
        self.in_flight, self.images_in_flight = in_flight, images_in_flight
        self.left, self.name, self.bills = left, name, bills
        self.asked: list[tuple[str | None, tuple[Any, ...], tuple[int, ...]]] = []
        self.sets: list[tuple[int, ...]] = []
        self.next_name: str | None = None

    @property
    def predictions(self) -> int:
        return sum(len(prompts) * len(images) for _, prompts, images in self.asked)

    def next_question(self, name: str) -> None:
        self.next_name = name

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        if not len(images):
            raise CraftZooError("no images were given: give at least one")
        if progress:
            for done in range(len(images)):
                progress(done + 1, len(images))
        handed = ImageLifetimes(images, self)
        self.sets.append(handed.seen)
        return handed

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        return Box(self, tuple(classnames))


class ImageLifetimes(ImageSet):
    def __init__(self, sources: Sequence[ImageSource], owner: Service) -> None:
        self.sources, self.owner = sources, owner
        self.seen = tuple(int(np.asarray(source).ravel()[0]) for source in sources)

    def __len__(self) -> int:
        return len(self.seen)


class Box(BlackBox):
    accepts = frozenset({"texts"})
    initial_context = np.zeros((0, 0), np.float32)

    def __init__(self, owner: Service, classnames: tuple[str, ...]) -> None:
        self.owner, self.classnames = owner, classnames

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        assert isinstance(images, ImageLifetimes)
        assert images.owner is self.owner
        self.owner.asked.append((self.owner.next_name, tuple(prompts), images.seen))
        self.owner.next_name = None
        self.owner.left -= len(prompts) * len(images)
        if self.owner.left < 0:
            raise Died
        for prompt in prompts:
            yield np.array(
                [
                    [zlib.crc32(f"{prompt} {name} {pixel}".encode()) for name in self.classnames]
                    for pixel in images.seen
                ],
                np.float32,
            )


def pictures(*pixels: int) -> list[ImageSource]:
    return [np.full((2, 2), pixel, np.uint8) for pixel in pixels]


def templates(count: int) -> list[str]:
    return [f"the {i} {{}}." for i in range(count)]


def ask(vlm: VLM, count: int, images: Sequence[ImageSource]) -> list[list[float]]:
    """The responses to two queries, of which the second opens other texts."""
    handed = vlm.images(images)
    several = list(vlm.classifier(CLASSES).logits(templates(count), handed))
    one = vlm.classifier(["three"]).score("a {}.", handed)
    return [answer.ravel().tolist() for answer in [*several, one]]


SIZES = st.tuples(st.integers(1, 4), st.none() | st.integers(1, 6))


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 5),
    n=st.integers(1, 7),
    first=SIZES,
    lives=st.lists(st.tuples(st.integers(0, 25), SIZES, st.none() | st.integers(1, 4)), max_size=4),
    bills=st.booleans(),
)
@example(count=3, n=7, first=(2, 3), lives=[(9, (1, None), 4)], bills=True)
def test_begun_again_with_other_sizes_it_asks_in_the_requests_it_was_begun_with(
    count: int,
    n: int,
    first: tuple[int, int | None],
    lives: list[tuple[int, tuple[int, int | None], int | None]],
    bills: bool,
) -> None:
    images = pictures(*range(n))
    expected = ask(Service(), count, images)
    at_once = min(count, first[0]), min(n, first[1] or n)
    whole = Service(*first, bills=bills)
    asked: list[Any] = []
    lost = deaths = 0
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder) / "whole") as journal:
            assert ask(ReplayVLM(whole, journal), count, images) == expected
        path = Path(folder) / "journal"
        for life, (left, sizes, option) in enumerate([*lives, (10**9, first, None)]):
            service = Service(*(sizes if life else first), left=left, bills=bills)
            with Journal(path) as journal:
                vlm = ReplayVLM(service, journal, option if life else None)
                try:
                    assert ask(vlm, count, images) == expected
                except Died:
                    deaths += 1
                    lost += len(service.asked[-1][1])
                assert journal.lost == lost
            asked += service.asked
    assert sum(len(prompts) * len(seen) for _, prompts, seen in asked) <= (
        whole.predictions + deaths * at_once[0] * at_once[1]
    )
    # In their order, without those that were repeated, they are those of a run let be.
    requests = list(dict.fromkeys((prompts, seen) for _, prompts, seen in asked))
    assert requests == [(prompts, seen) for _, prompts, seen in whole.asked]
    assert all(len(p) <= at_once[0] and len(seen) <= at_once[1] for p, seen in requests)
    # A name stands for one request, whoever asks it, where there are names.
    assert all((name is not None) == bills for name, _, _ in asked)
    if bills:
        assert len({name for name, _, _ in asked}) == len(requests)
        assert len(set(asked)) == len(requests)


def test_of_a_request_about_some_images_a_kill_loses_no_more(tmp_path: Path) -> None:
    images = pictures(*range(10))
    service = Service(images_in_flight=3, left=3 + 3 + 3 + 1 + 3 + 2)
    with Journal(tmp_path / "journal") as journal, pytest.raises(Died):
        ask(ReplayVLM(service, journal), 2, images)
    service.left = 10**9
    with Journal(tmp_path / "journal") as journal:
        assert ask(ReplayVLM(service, journal), 2, images) == ask(Service(), 2, images)
    assert service.predictions == 3 * 10 + 3


@pytest.mark.parametrize(
    ("other", "images", "classnames", "init"),
    [
        ("another", [1, 2, 3], CLASSES, DEFAULT_INIT),
        ("service", [1, 2, 4], CLASSES, DEFAULT_INIT),
        ("service", [1, 3, 2], CLASSES, DEFAULT_INIT),
        ("service", [1, 2, 3], ["one", "too"], DEFAULT_INIT),
        ("service", [1, 2, 3], CLASSES, "a drawing of a"),
    ],
    ids=["model", "image", "order", "class name", "template"],
)
@pytest.mark.parametrize("size", [None, 2])
def test_another_run_is_told_from_this_one(
    other: str,
    images: list[int],
    classnames: list[str],
    init: str,
    size: int | None,
    tmp_path: Path,
) -> None:
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(Service(images_in_flight=size), journal)
        vlm.classifier(CLASSES).score("a {}.", vlm.images(pictures(1, 2, 3)))
    service = Service(images_in_flight=size, name=other)
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(service, journal)
        box, handed = vlm.classifier(classnames, init), vlm.images(pictures(*images))
        with pytest.raises(CraftZooError, match="another model, other images or settings"):
            box.score("a {}.", handed)
    assert not service.asked


def test_files_are_told_by_content_and_may_have_moved(tmp_path: Path) -> None:
    def describe_in(folder: str, content: bytes) -> bytes:
        path = tmp_path / folder / "cats" / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        with Journal(tmp_path / folder / "journal") as journal:
            return replay._Parts(ReplayVLM(Service(), journal), [path]).digest

    first = describe_in("a", b"1")
    assert describe_in("b", b"1") == first
    assert describe_in("c", b"2") != first


def test_images_that_are_altered_for_each_question_are_told_apart(tmp_path: Path) -> None:
    def program(service: Service, last: int) -> None:
        with Journal(tmp_path / "journal") as journal:
            vlm = ReplayVLM(service, journal)
            box = vlm.classifier(CLASSES)
            for pixel in (1, 2, last):
                box.score("a {}.", vlm.images(pictures(pixel), keep=False))

    service = Service()
    program(service, 3)
    program(service, 3)
    assert service.sets == [(1,), (2,), (3,)]
    with pytest.raises(CraftZooError, match="other images"):
        program(service, 4)
    assert len(service.asked) == 3


@pytest.mark.parametrize("size", [None, 2])
def test_a_set_of_the_model_itself_is_as_one_handed_over_by_the_record(
    size: int | None, tmp_path: Path
) -> None:
    service = Service(images_in_flight=size)
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(service, journal)
        own = service.images(pictures(1, 2, 3))
        for template in templates(2):
            vlm.classifier(CLASSES).score(template, own)
    # Only in parts are they handed over again, and that once.
    assert service.sets[1:] == ([] if size is None else [(1, 2), (3,)])
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(service, journal)
        handed = vlm.images(pictures(1, 2, 3))
        answers = [vlm.classifier(CLASSES).score(template, handed) for template in templates(2)]
    assert service.predictions == 6
    expected = service.classifier(CLASSES).logits(templates(2), own)
    np.testing.assert_array_equal(answers, list(expected))


def test_parts_of_a_set_are_described_and_handed_over_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[ImageSource] = []
    describe = replay.content_key
    monkeypatch.setattr(replay, "content_key", lambda s: described.append(s) or describe(s))
    service = Service(images_in_flight=2)
    reported: list[tuple[int, int]] = []
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(service, journal)
        handed = vlm.images(pictures(1, 2, 3, 4, 5), lambda *done: reported.append(done))
        assert service.sets == [(1, 2), (3, 4), (5,)]
        assert reported == [(i, 5) for i in range(1, 6)]
        assert len(handed) == len(handed.sources) == 5
        for template in templates(3):
            vlm.classifier(CLASSES).score(template, handed)
    assert len(described) == 5
    assert len(service.sets) == 3


def test_while_the_journal_answers_images_are_not_handed_over(tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []

    def program(service: Service, count: int) -> None:
        with Journal(tmp_path / "journal") as journal:
            vlm = ReplayVLM(service, journal)
            handed = vlm.images(pictures(1, 2, 3), lambda *done: reported.append(done))
            list(vlm.classifier(CLASSES).logits(templates(count), handed))

    program(Service(images_in_flight=2), 2)
    reported.clear()
    service = Service()
    program(service, 2)
    assert not service.sets
    program(service, 3)
    assert service.sets == [(1, 2), (3,)]
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_where_nothing_was_asked_nothing_stays(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(Service(images_in_flight=2, bills=True), journal)
        handed = vlm.images(pictures(1, 2, 3))
        assert not list(vlm.classifier(CLASSES).logits([], handed))
        with pytest.raises(CraftZooError, match="no images were given"):
            vlm.images([])
    assert not list(tmp_path.iterdir())


def test_requests_hold_fewer_contexts_where_answers_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of the images counts, as their parts are put together again."""
    monkeypatch.setattr(replay, "_ANSWER_BYTES", 2 * 4 * 6 * len(CLASSES))
    service = Service(40, images_in_flight=4)
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(service, journal)
        list(vlm.classifier(CLASSES).logits(templates(5), vlm.images(pictures(*range(6)))))
    assert [(len(prompts), len(seen)) for _, prompts, seen in service.asked] == [
        (2, 4),
        (2, 2),
        (2, 4),
        (2, 2),
        (1, 4),
        (1, 2),
    ]


def test_a_model_that_bills_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(Service(), journal)
        vlm.classifier(CLASSES).score("a {}.", vlm.images(pictures(1)))
    with Journal(tmp_path / "journal") as journal:
        vlm = ReplayVLM(Service(bills=True), journal)
        with pytest.raises(CraftZooError, match="another model"):
            vlm.classifier(CLASSES).score("a {}.", vlm.images(pictures(1)))
