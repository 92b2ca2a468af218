"""A resumed command detects that its address serves another model, before it pays for anything."""

from __future__ import annotations

import json
import runpy
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.cli.main import main
from craft_zoo.client import RemoteVLM
from craft_zoo.data import Task
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.openclip import OpenCLIP
from craft_zoo.solution import Solution

NAMES = ["cat", "dog"]
Connect = Callable[..., RemoteVLM]


class Owner:
    """A real server, which can be restarted with another model or other settings."""

    def __init__(self, running: Any, make: Callable[[], OpenCLIP]) -> None:
        self._running, self._make = running, make
        self.model = running._vlm
        self.url: str = running.url

    def serve(
        self,
        vlm: OpenCLIP | None = None,
        *,
        adapter: DeployedAdapter | None = None,
        **settings: Any,
    ) -> None:
        """Restart with the same bill."""
        self._running.__exit__()
        self._running._vlm, self._running._adapter = vlm or self.model, adapter
        plain = {"answers": "logits", "top_k": None}
        self._running._settings = replace(self._running._settings, **plain | settings)
        self._running.__enter__()

    def retrained(self) -> OpenCLIP:
        """A model with the same name and token embeddings, and another image tower."""
        other = self._make()
        for parameter in other._model.visual.parameters():
            parameter.data *= 1.01
        return other

    @property
    def predictions(self) -> int:
        """Number of billed predictions."""
        return RemoteVLM(self.url).usage().predictions


@pytest.fixture
def owner(
    make_tiny: Callable[..., OpenCLIP], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    module = runpy.run_path(str(Path(__file__).parent / "real_server.py"))
    with module["RealServer"](make_tiny(), tmp_path / "state") as running:
        monkeypatch.setenv("CRAFT_ZOO_API_KEY", running.key)
        yield Owner(running, make_tiny)


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that fails."""
    capsys.readouterr()
    assert main(words) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("is_killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_stopped_tune_continues_with_the_model_that_it_began_with(
    is_killed: bool,
    owner: Owner,
    image_folder: Path,
    tmp_path: Path,
    start_command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["tune", f"folder:{image_folder}", "--model", owner.url, "--shots", "2"]
    words += ["--method", "templates", "--budget", "12", "--in-flight", "2", "--no-canaries"]
    words += ["--estimate", "none"]
    whole, parts = tmp_path / "whole.adapter", tmp_path / "parts.adapter"
    assert main([*words, "--out", str(whole)]) == 0
    billed = owner.predictions
    words += ["--out", str(parts)]
    if is_killed:
        killed = start_command(words, killed_after=("craft_zoo.blackbox.journal.Journal.keep", 3))
        killed.process.join(60)
        assert killed.process.exitcode == -signal.SIGKILL, killed.errors.read_text()
    else:
        left = iter([Journal.keep, Journal.keep])  # the third call stops the command
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "keep", lambda *arguments: next(left)(*arguments))
            with pytest.raises(RuntimeError, match="StopIteration"):
                main(words)
    paid = owner.predictions
    assert billed < paid < 2 * billed

    owner.serve(owner.retrained())
    journal = f"{parts}.journal"
    message = error_of(words, capsys)
    assert f"{owner.url} is another model than when {journal} was begun" in message
    assert "(fingerprint " in message
    assert f"continue with that one, or remove {journal}" in message
    owner.serve(answers="log_probabilities", top_k=2)
    message = error_of(words, capsys)
    assert "(answers logits then, log_probabilities now, top_k all then, 2 now)" in message
    assert owner.predictions == paid

    owner.serve()
    assert main(words) == 0
    assert owner.predictions == 2 * billed
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("more", [[], pytest.param(["--jobs", "2"], marks=pytest.mark.slow)])
def test_a_bench_continues_with_the_model_of_its_finished_runs(
    more: list[str],
    owner: Owner,
    image_folder: Path,
    tmp_path: Path,
    undrawn: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "--dataset", f"folder:{image_folder}", "--method", "zero-shot", "--shots"]
    words += ["1", "--model", owner.url, "--out", str(tmp_path / "bench"), *more]
    assert main([*words, "--seed", "1"]) == 0
    [record] = (tmp_path / "bench").glob("runs/*/run.json")
    served = json.loads(record.read_text())["environment"]["served"]
    assert served.keys() > {"name", "answers", "fingerprint"}
    paid, config = owner.predictions, (tmp_path / "bench" / "config.json").read_bytes()
    owner.serve(owner.retrained())
    message = error_of([*words, "--seeds", "2"], capsys)
    assert f"{owner.url} is another model than when {record.parent} was made" in message
    assert owner.predictions == paid
    assert (tmp_path / "bench" / "config.json").read_bytes() == config
    owner.serve()
    assert main([*words, "--seeds", "2"]) == 0
    assert owner.predictions == 2 * paid


def test_what_differs_only_on_one_side_is_not_compared(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path
) -> None:
    """An older server says no fingerprint; it is known by its initial context."""

    def ask() -> None:
        with Journal(tmp_path / "journal") as journal:
            vlm = ReplayVLM(connect(), journal)
            vlm.classifier(NAMES).score("{}", vlm.images(small_task.train.images[:3]))

    ask()
    server.about = {"fingerprint": "ab"}  # it was upgraded
    server.in_flight, server.limits = 7, {"contexts": 5}
    ask()
    assert server.predictions == 3
    box = server.vlm.classifier(NAMES)
    box.initial_context = box.initial_context + 1
    server.restart()
    server.vlm = type("Other", (), {"classifier": lambda *_: box, "image_size": 32})()
    with pytest.raises(CraftZooError, match=r"another form \(initial_context \w+ then, \w+ now\)"):
        ask()
    assert server.predictions == 3


def test_a_journal_of_an_earlier_version_is_continued_with_a_warning(
    server: Any,
    connect: Connect,
    small_task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(times: int) -> None:
        with Journal(tmp_path / "journal") as journal:
            vlm = ReplayVLM(connect(), journal)
            images = vlm.images(small_task.train.images[:3])
            for _ in range(times):
                vlm.classifier(NAMES).score("{}", images)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteVLM, "description", lambda _: {})
        ask(1)
    with pytest.warns(CraftZooWarning, match="did not record which model http://.* was: make sure"):
        ask(2)
    assert server.predictions == 2 * 3


def test_another_model_is_detected_when_class_names_are_opened(
    owner: Owner, small_task: Task
) -> None:
    remote = RemoteVLM(owner.url)
    remote.classifier(NAMES)
    owner.serve()
    remote.classifier(NAMES)
    owner.serve(owner.retrained())
    with pytest.raises(CraftZooError, match="serves another model than the run began with"):
        remote.classifier(["other", "names"])


def test_a_question_that_was_in_flight_is_not_asked_of_another_form_of_answers(
    owner: Owner, small_task: Task, tmp_path: Path
) -> None:
    """The server has answered it already, and knows its name with another answer."""
    remote = RemoteVLM(owner.url)
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:3])
    remote.next_question("one")
    box.score("{}", images)
    owner.serve(answers="log_probabilities")
    remote.next_question("one")
    with pytest.raises(CraftZooError, match="serves another model than the run began with"):
        box.score("{}", images)


def test_an_adapter_without_its_model_cannot_be_asked(owner: Owner) -> None:
    remote = RemoteVLM(owner.url)
    box = remote.classifier(NAMES)
    solution = Solution(box.initial_context)
    adapter = Adapter.of(solution, owner.model, owner.model.classifier(NAMES))
    owner.serve(adapter=DeployedAdapter(adapter, owner.model))
    for ask in (lambda: remote.classifier(["other"]), lambda: RemoteVLM(owner.url)):
        with pytest.raises(
            CraftZooError, match=r"serves no model, only an adapter: .*--with-model"
        ):
            ask()


def test_an_adapter_warns_if_another_model_is_served(
    owner: Owner, small_task: Task, tmp_path: Path
) -> None:
    remote = RemoteVLM(owner.url)
    box = remote.classifier(NAMES)
    Adapter.of(Solution(box.initial_context), remote, box).save(tmp_path / "a")
    adapter = Adapter.load(tmp_path / "a")
    assert adapter.served == remote.description()
    images = small_task.train.images[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error", CraftZooWarning)
        adapter.predict(remote, images)
        adapter.predict(owner.model, images)  # nothing is known of it
    for change in ({"vlm": owner.retrained()}, {"answers": "log_probabilities"}):
        owner.serve(**change)
        with pytest.warns(
            CraftZooWarning, match=r"than when the adapter was tuned, .*craft-zoo check"
        ):
            adapter.predict(RemoteVLM(owner.url), images)


def test_a_fingerprint_is_of_weights_and_preprocessing(make_tiny: Callable[..., OpenCLIP]) -> None:
    one, other = make_tiny(), make_tiny()
    assert one.description() == other.description()
    assert one.description().keys() == {"fingerprint"}
    other._preprocess = image_transform_v2(PreprocessCfg(size=(48, 48)), is_train=False)
    assert one.description() != other.description()
    other = make_tiny()
    other._model.logit_scale.data += 1
    assert one.description() != other.description()
