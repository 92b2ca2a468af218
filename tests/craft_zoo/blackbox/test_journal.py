"""The journal: recovery from whatever a kill leaves of the file."""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.blackbox import Busy, Journal, ReplayVLM
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.openclip import OpenCLIP

RNG = np.random.default_rng(0)
DIGESTS = [bytes([i]) * 16 for i in range(4)]
ANSWERS = [RNG.standard_normal((1 + i % 2, 3, 2)).astype(np.float32) for i in range(4)]


def program(journal: Journal) -> tuple[list[bytes], list[Any], int]:
    """Four queries, each with a note; returns what was read and the number of queries made."""
    seen: list[bytes] = []
    notes: list[Any] = []
    asked = 0
    for i, (digest, truth) in enumerate(zip(DIGESTS, ANSWERS, strict=True)):
        answer = journal.answer(digest, truth.shape)
        if answer is None:
            asked += 1
            journal.ask(digest, truth.shape)
            journal.keep(truth)
            answer = truth
        seen.append(answer.tobytes())
        notes.append(journal.note({"after": i}))
    return seen, notes, asked


def whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder) / "journal") as journal:
            program(journal)
        return (Path(folder) / "journal").read_bytes()


WHOLE = whole()


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, len(WHOLE)), zeros=st.integers(0, 40) | st.just(len(WHOLE)))
def test_cut_off_anywhere_it_goes_on(cut: int, zeros: int) -> None:
    """A kill cuts the file off at any byte, a power cut may leave zeros there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(WHOLE[:cut] + bytes(min(zeros, len(WHOLE) - cut)))
        with Journal(path) as journal:
            seen, notes, asked = program(journal)
            assert 0 <= journal.lost <= 2
        assert seen == [answer.tobytes() for answer in ANSWERS]
        assert notes == [{"after": i} for i in range(4)]
        assert asked < 4 or cut < 300
        with Journal(path) as journal:
            assert program(journal)[2] == 0


UP_TO_AN_ANSWER = WHOLE[: WHOLE.rindex(ANSWERS[3].tobytes()) + ANSWERS[3].nbytes]


@pytest.mark.parametrize("content", [WHOLE, UP_TO_AN_ANSWER], ids=["a note", "an answer"])
def test_a_flipped_bit_is_never_believed_and_costs_the_last_entry_at_most(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    refused: list[str] = []
    rng = np.random.default_rng(1)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            with Journal(path) as journal:
                seen, notes, asked = program(journal)
        except CraftZooError as error:
            refused.append(str(error))
            continue
        assert seen == [answer.tobytes() for answer in ANSWERS]
        assert notes == [{"after": i} for i in range(4)]
        assert asked == (1 if content is UP_TO_AN_ANSWER else 0)
    last = len(json.dumps({"after": 3})) if content is WHOLE else ANSWERS[3].nbytes
    assert len(refused) == len(content) - last
    assert all("remove it" in sentence or "move it away" in sentence for sentence in refused)


BEFORE_IT = len(UP_TO_AN_ANSWER) - ANSWERS[3].nbytes


@settings(max_examples=150, deadline=None)
@given(first=st.integers(0, BEFORE_IT - 1), size=st.integers(1, 60), seed=st.integers(0, 10))
def test_damage_before_the_last_entry_is_refused(first: int, size: int, seed: int) -> None:
    """Zeros, as of a block that is lost, or anything else."""
    size = min(size, BEFORE_IT - first)
    put = np.random.default_rng(seed).bytes(size) if seed else bytes(size)
    content = UP_TO_AN_ANSWER[:first] + put + UP_TO_AN_ANSWER[first + size :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(content)
        try:
            with Journal(path) as journal:
                program(journal)
        except CraftZooError:
            pass
        else:
            assert content == UP_TO_AN_ANSWER
        assert path.read_bytes()[: len(content)] == content


def test_a_question_without_an_answer_is_counted(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.ask(DIGESTS[1], ANSWERS[1].shape)
    with Journal(tmp_path / "journal") as journal:
        assert journal.lost == 2
        assert not journal.replaying
        program(journal)
        assert journal.lost == 2


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal"), pytest.raises(Busy, match="another process"):
        Journal(tmp_path / "journal")
    Journal(tmp_path / "journal").close()


def test_removed_it_leaves_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        program(journal)
        journal.remove()
    assert not list(tmp_path.iterdir())


def test_another_question_is_noticed(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        program(journal)
    with Journal(tmp_path / "journal") as journal, pytest.raises(CraftZooError, match="other que"):
        journal.answer(DIGESTS[1], ANSWERS[0].shape)
    with Journal(tmp_path / "journal") as journal, pytest.raises(CraftZooError, match="other que"):
        journal.note({})
    with Journal(tmp_path / "journal") as journal, pytest.raises(CraftZooError, match="other que"):
        journal.ask(DIGESTS[0], ANSWERS[0].shape)
    with Journal(tmp_path / "journal") as journal:
        journal.answer(DIGESTS[0], ANSWERS[0].shape)
        with pytest.raises(CraftZooError, match="another model, other images or settings"):
            journal.note({"before": 0})


def test_damage_is_named_and_not_taken_for_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    damaged = bytearray(WHOLE)
    damaged[WHOLE.index(ANSWERS[0].tobytes()) + 3] ^= 1
    path.write_bytes(damaged)
    with Journal(path) as journal, pytest.raises(CraftZooError, match="damaged at byte"):
        program(journal)
    path.write_bytes(b"something else")
    with pytest.raises(CraftZooError, match="not a craft-zoo journal"):
        Journal(path)
    assert path.read_bytes() == b"something else"


def test_a_journal_of_another_version_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"craft-zoo journal 2\n?and what it recorded")
    with pytest.raises(CraftZooError, match="another version of craft-zoo: finish it with the ver"):
        Journal(path)
    assert path.read_bytes().startswith(b"craft-zoo journal 2\n?")


def test_a_full_disk_is_said_and_nothing_half_written_stays(tmp_path: Path) -> None:
    class Full:
        """A file that accepts ten more bytes."""

        def __init__(self, file: Any) -> None:
            self.file, self.left = file, 10

        def write(self, data: memoryview) -> int:
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = self.file.write(data[: self.left])
            self.left -= written
            return written

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    with Journal(tmp_path / "journal") as journal:
        journal.ask(DIGESTS[0], ANSWERS[0].shape)
        journal.keep(ANSWERS[0])
        before = journal.path.read_bytes()
        journal._file = Full(journal._file)  # type: ignore[assignment]
        with pytest.raises(CraftZooError, match=r"No space left on device.*free disk space"):
            journal.note({"after": 0})
        assert journal.path.read_bytes() == before
    with Journal(tmp_path / "journal") as journal:
        assert program(journal)[2] == 3


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CraftZooError, match="cannot be written"):
        Journal(tmp_path / "file" / "journal")


@pytest.mark.parametrize("in_flight", [1, 3, None])
def test_a_model_is_not_asked_twice(
    mortal: Any, small_task: Task, tmp_path: Path, in_flight: int | None
) -> None:
    model = mortal
    images = model.images(small_task.train.images[:5])
    rng = np.random.default_rng(1)
    start = model.classifier(["one", "two"]).initial_context
    contexts = (start + 0.01 * rng.standard_normal((8, *start.shape))).astype(np.float32)
    plain = list(model.classifier(["one", "two"]).logits(contexts, images))
    model.asked = 0
    model.left = 5

    def ask() -> list[np.ndarray]:
        with Journal(tmp_path / "journal") as journal:
            vlm = ReplayVLM(model, journal, in_flight)
            handed = vlm.images(small_task.train.images[:5])
            return list(vlm.classifier(["one", "two"]).logits(contexts, handed))

    with pytest.raises(model.Died):
        ask()
    model.left = 10**9
    answers = ask()
    np.testing.assert_allclose(answers, plain, atol=1e-4)
    lost = in_flight or 8
    assert model.asked == 8 + lost
    with Journal(tmp_path / "journal") as journal:
        assert journal.lost == lost
    assert [answer.tobytes() for answer in ask()] == [answer.tobytes() for answer in answers]
    assert model.asked == 8 + lost


def test_an_answer_that_cannot_be_used_is_not_kept(
    vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    model = vlm
    with Journal(tmp_path / "journal") as journal:
        recorded = ReplayVLM(model, journal)
        images = recorded.images(small_task.train.images[:5])
        box = recorded.classifier(["one", "two"])
        broken = np.full_like(box.initial_context, np.nan)
        with pytest.raises(CraftZooError, match="NaN"):
            box.score(broken, images)
        box.score(box.initial_context, images)
    with Journal(tmp_path / "journal") as journal:
        box = ReplayVLM(model, journal).classifier(["one", "two"])
        assert np.isfinite(box.score(box.initial_context, images)).all()
        assert not journal.replaying


def test_at_its_largest_size_recording_ends_and_the_rest_is_asked_again(tmp_path: Path) -> None:
    seen = []
    for asked in (4, 2, 2):
        with Journal(tmp_path / "journal") as journal:
            journal.limit = len(WHOLE) // 2
            if asked == 4:
                with pytest.warns(CraftZooWarning, match="has reached its largest size"):
                    seen.append(program(journal))
            else:
                seen.append(program(journal))
            assert journal.lost == 0
        assert len(WHOLE) / 3 < (tmp_path / "journal").stat().st_size < 2 / 3 * len(WHOLE)
        assert seen[-1] == (*seen[0][:2], asked)


def test_paid_answers_are_recorded_whatever_their_size(
    vlm: OpenCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "journal") as journal:
        ReplayVLM(vlm, journal)
        assert journal.limit == 2**33
        monkeypatch.setattr(OpenCLIP, "bills", True)
        ReplayVLM(vlm, journal)
        assert journal.limit is None
