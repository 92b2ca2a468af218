"""``evaluate``, ``predict`` and ``background`` with a paid model, interrupted and continued."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.adapter import Adapter
from craft_zoo.anchors import BackgroundFile
from craft_zoo.benchmarks import RunStore
from craft_zoo.benchmarks.grid import label_runs
from craft_zoo.cli import predict
from craft_zoo.cli.main import main
from craft_zoo.solution import Solution

NAMES = ("red square", "green field", "blue sky")
SMALL = "import craft_zoo.cli.predict\ncraft_zoo.cli.predict._BATCH = 4"  # images a query


@pytest.fixture
def server(paid_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setattr(predict, "_BATCH", 4)
    return paid_server


@pytest.fixture
def adapter(server: Any, tmp_path: Path) -> Path:
    """An adapter that asks in other words than the initial prompt."""
    file = tmp_path / "a.adapter"
    Adapter(Solution("an old {}"), NAMES, server.name("chat"), ()).save(file)
    return file


@pytest.fixture
def arguments(
    request: pytest.FixtureRequest, server: Any, adapter: Path, image_folder: Path
) -> Callable[[Path], list[str]]:
    """The arguments of a command that writes to a path, about 9 images, of which one is broken."""
    model = ["--model", server.name("chat"), "--model-option", "concurrency=1"]
    if request.param == "evaluate":
        return lambda out: [*("evaluate", adapter, f"folder:{image_folder}", "--out", out), *model]
    images = str(image_folder / "test")
    if request.param == "background":
        words = ["background", images, "--words", "4", *model, "--out"]
        return lambda out: [*words, str(out.with_suffix(".csv"))]
    (image_folder / "test" / "blue-sky" / "01.png").write_bytes(b"broken")
    words = ["predict", str(adapter), images, "--skip-bad", *model, "--out"]
    return lambda out: [*words, str(out.with_suffix(".csv"))]


def written(out: Path) -> list[bytes]:
    names = ["evaluation.json", "predictions.csv"]
    files = [out / name for name in names] if out.is_dir() else [out.with_suffix(".csv")]
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize(
    ("arguments", "sent", "code"),
    [
        ("evaluate", "SIGINT", 130),
        ("predict", "SIGKILL", -signal.SIGKILL),
        pytest.param("background", "SIGKILL", -signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("background", "SIGINT", 130, marks=pytest.mark.slow),
        pytest.param("evaluate", "SIGKILL", -signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("evaluate", "SIGTERM", -signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("predict", "SIGINT", 130, marks=pytest.mark.slow),
        pytest.param("predict", "SIGTERM", -signal.SIGTERM, marks=pytest.mark.slow),
    ],
    indirect=["arguments"],
)
def test_an_interrupted_command_asks_only_what_is_missing(
    arguments: Callable[[Path], list[str]],
    sent: str,
    code: int,
    server: Any,
    adapter: Path,
    start_command: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = adapter.parent
    assert main([str(word) for word in arguments(folder / "whole")]) == 0
    whole = Counter(server.answered)
    server.answered.clear()
    requests = 0

    def interrupt() -> None:
        nonlocal requests
        requests += 1
        if requests == 6:
            server.faults.append("503")
            os.kill(started.process.pid, getattr(signal, sent))

    server.on_request = interrupt
    started = start_command([str(word) for word in arguments(folder / "parts")], first=SMALL)
    started.process.join(60)
    assert started.process.exitcode == code, started.errors.read_text()
    assert len(server.answered) == 5
    [journal] = folder.glob("*.journal")
    assert journal.name.startswith(("a.adapter.", "parts.csv.background-"))
    if sent == "SIGINT":
        said = started.output.read_text() + started.errors.read_text()
        assert f"Rerun the same command to continue; {journal} holds" in " ".join(said.split())
    capfd.readouterr()
    assert main([str(word) for word in arguments(folder / "parts")]) == 0
    assert "Continuing where it was stopped" in "".join(capfd.readouterr())
    assert Counter(server.answered) == whole
    assert written(folder / "parts") == written(folder / "whole")
    assert not list(folder.glob("*.journal*"))


@pytest.mark.parametrize("arguments", ["evaluate", "predict"], indirect=True)
def test_refused_questions_are_counted(
    arguments: Callable[[Path], list[str]],
    server: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.faults = [None, "refuse", None, "refuse"]
    main(list(map(str, arguments(tmp_path / "out"))))
    assert "2 questions refused, and counted as undecided" in "".join(capsys.readouterr())


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("undrawn")
def test_a_bench_counts_refused_questions_of_all_its_runs(
    jobs: str,
    server: Any,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.faults = [None, "refuse"] * 3
    bench = ["bench", "--dataset", f"folder:{image_folder}", "--model", server.name("chat")]
    grid = ["--method", "refine", "--shots", "1", "--seeds", "2", "--budget", "1"]
    assert main([*bench, *grid, "--jobs", jobs, "--out", str(tmp_path / "out")]) == 0
    assert "3 questions refused, and counted as undecided" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", ["evaluate"], indirect=True)
def test_changed_data_are_refused_and_other_data_have_another_journal(
    arguments: Callable[[Path], list[str]],
    server: Any,
    adapter: Path,
    image_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(word) for word in arguments(adapter.parent / "out")]
    server.faults = [*(None,) * 12, "401"]
    assert main(words) == 2
    [journal] = adapter.parent.glob("*.journal")
    moved = image_folder.rename(image_folder.with_name("moved"))
    assert main([*words[:2], f"folder:{moved}", *words[3:]]) == 0
    assert len(server.answered) == 12 + 18
    moved.rename(image_folder)
    (image_folder / "test" / "blue-sky" / "01.png").unlink()
    capsys.readouterr()
    assert main(words) == 2
    assert f"{journal} records other queries" in capsys.readouterr().err
    journal.unlink()
    assert main(words) == 0


def test_answers_under_other_options_are_not_reused(
    server: Any,
    image_folder: Path,
    tmp_path: Path,
    undrawn: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ["--model", server.name("openai"), "--shots", "1", "--budget", "1"]
    asked = []
    (names := tmp_path / "words.txt").write_text("green field\twith grass\n")
    for text in ("concurrency=2", "permutations=1", "permutations=2", f"descriptions={names}"):
        words = ["bench", "--dataset", f"folder:{image_folder}", "--method", "zero-shot", *model]
        before = len(server.answered)
        out = str(tmp_path / "bench")
        assert main([*words, "--seeds", "1", "--out", out, "--model-option", text]) == 0
        asked.append(len(server.answered) - before)
    assert asked == [9, 0, 9, 9]
    runs = RunStore(tmp_path / "bench").read_all()[0]
    labels = set(label_runs(runs).values())
    assert {"zero-shot", "zero-shot, permutations=2"} < labels
    assert len(labels) == 3

    words = ["tune", f"folder:{image_folder}", "--method", "refine", *model, "--estimate", "none"]
    words += ["--out", str(tmp_path / "t.adapter"), "--model-option", "concurrency=1"]
    words.append("--model-option")
    server.faults = [None, None, "401"]
    assert main([*words, "permutations=2"]) == 2
    capsys.readouterr()
    assert main([*words, "permutations=3"]) == 2
    assert "records other queries than those made now" in capsys.readouterr().err
    assert main([*words, "permutations=2"]) == 0

    words = ["predict", str(tmp_path / "t.adapter"), str(image_folder), "--model", model[1]]
    capsys.readouterr()
    assert main([*words, "--model-option", "permutations=2"]) == 0
    assert "tuned with" not in capsys.readouterr().err
    assert main(words) == 0
    message = " ".join(capsys.readouterr().err.split())
    assert "is asked with the default options, and the adapter was tuned with the" in message


@pytest.mark.parametrize("arguments", ["predict"], indirect=True)
def test_the_class_of_an_image_that_is_refused_is_empty(
    arguments: Callable[[Path], list[str]], server: Any, tmp_path: Path
) -> None:
    server.faults = [None, "refuse"]
    assert main([str(word) for word in arguments(tmp_path / "out")]) == 0
    rows = [line.split(",")[1:] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert rows.pop(1) == ["", "0.3333"]
    assert {name for name, _ in rows} <= set(NAMES)


@pytest.mark.parametrize("arguments", ["evaluate"], indirect=True)
def test_an_image_that_is_refused_is_not_correct(
    arguments: Callable[[Path], list[str]], server: Any, tmp_path: Path
) -> None:
    """It was, if its label was the first class."""
    found = []
    for place in range(2):
        server.faults = [None] * 9 * place + ["refuse"]  # the adapter's answers, then zero-shot
        out = tmp_path / str(place)
        assert main([str(word) for word in arguments(out)]) == 0
        lines = (out / "predictions.csv").read_text().splitlines()
        found.append([line.split(",") for line in lines[1:]])
    (_, _, predicted, probability, zero_shot), other = found[0][0], found[1][0]
    assert (predicted, probability, other[4]) == ("", "0.3333", "")
    assert other[2] in NAMES
    assert zero_shot in NAMES
    said = json.loads((tmp_path / "0" / "evaluation.json").read_text())
    assert said["accuracy"] == pytest.approx(np.mean([row[1] == row[2] for row in found[0]]))
    assert np.sum(said["confusion"]) == 8


@pytest.mark.parametrize("arguments", ["predict"], indirect=True)
def test_a_journal_is_in_the_working_folder_where_the_adapters_is_read_only(
    arguments: Callable[[Path], list[str]],
    server: Any,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.chdir(kept)
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and writable(path, mode))
    server.faults = [None, "401"]
    assert main(arguments(kept / "out")) == 2
    assert [file.suffix for file in kept.glob("a.adapter.predict-*.journal")] == [".journal"]
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.parametrize("command", ["predict", "background"])
def test_answers_never_go_to_other_images_of_equal_names_and_sizes(
    command: str,
    server: Any,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, colour in (("one", "red"), ("two", "blue")):
        (tmp_path / folder / "pictures").mkdir(parents=True)
        for number in range(6):
            image = Image.new("RGB", (8, 8), colour)
            image.save(tmp_path / folder / "pictures" / f"{number}.bmp")
    model = ["--model", server.name("chat"), "--model-option", "concurrency=1"]
    words, out = ["predict", str(adapter), "pictures", *model], tmp_path / "m.background"
    if command == "background":
        words = ["background", "pictures", "--words", "4", "--out", str(out), "--force", *model]
    monkeypatch.chdir(tmp_path / "one")
    server.faults = [None, "401"]  # a batch sends equal files once
    assert main(words) == 2
    monkeypatch.chdir(tmp_path / "two")
    capsys.readouterr()
    assert main(words) == 0  # another journal
    assert "Continuing" not in "".join(capsys.readouterr())
    monkeypatch.chdir(tmp_path / "one")
    for file in Path("pictures").iterdir():
        file.write_bytes((tmp_path / "two" / "pictures" / file.name).read_bytes())
    if command == "background":  # a single query, whose requests are known by their bodies
        of_two = server.answered[1:]
        assert main(words) == 0
        assert sorted(server.answered) == sorted([server.answered[0], *of_two, *of_two])
        return
    assert main(words) == 2
    assert "records other queries than those made now" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", ["predict"], indirect=True)
def test_answers_are_kept_until_standard_output_is_written(
    arguments: Callable[[Path], list[str]],
    server: Any,
    adapter: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = arguments(adapter)[:-2]
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert main(words) == 2  # closing the file would raise an error if it still had text
    asked = len(server.answered)
    assert "No space left on device" in capsys.readouterr().err
    assert main(words) == 0
    assert len(server.answered) == asked == 8
    assert len(capsys.readouterr().out.splitlines()) == 1 + 8
    assert not list(adapter.parent.glob("*.journal*"))


def test_the_limit_of_a_background_is_checked_before_a_service_is_asked(
    server: Any,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["background", str(image_folder / "test"), "--out", str(tmp_path / "chat.background")]
    words += ["--model", server.name("chat"), "--words", "3"]
    assert main([*words, "--max-predictions", "8"]) == 2
    assert "raise that or lower --count" in capsys.readouterr().err
    assert not server.answered
    assert main([*words, "--max-predictions", "9"]) == 0
    assert "9 images: 9 predictions" in " ".join(capsys.readouterr().out.split())
    assert BackgroundFile(str(tmp_path / "chat.background")).load().images == 9
