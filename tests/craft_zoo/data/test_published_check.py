"""``check_datasets`` and its command; docs/datasets.md agrees with the catalogue."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from craft_zoo.cli import datasets as command
from craft_zoo.data import check_datasets, published_datasets
from craft_zoo.data.published import Sizes, catalogue
from craft_zoo.errors import CraftZooError

DOCS = Path(__file__).resolve().parents[3] / "docs" / "datasets.md"


@pytest.fixture
def root(tmp_path: Path, published_root: Path) -> Path:
    """A data root with OxfordPets and CIFAR-10."""
    for folder in ("oxford_pets", "cifar-10-batches-bin"):
        shutil.copytree(published_root / folder, tmp_path / folder)
    return tmp_path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=command.run)
    command.add_arguments(parser)
    options = parser.parse_args(arguments)
    return options.run(options)


def break_images(root: Path, count: int) -> list[Path]:
    paths = sorted((root / "oxford_pets" / "images").iterdir())[:count]
    for path in paths:
        path.write_bytes(path.read_bytes()[:200])
    return paths


def test_a_whole_root_is_ready(published_root: Path) -> None:
    findings = check_datasets(published_root)
    assert [finding.name for finding in findings] == list(published_datasets())
    for finding in findings:
        assert (finding.state, finding.problems, finding.broken_images) == ("ready", (), None)
        assert finding.sizes is not None
        assert not finding.as_published
        assert finding.sizes.test == 2 * (finding.n_classes or 0)


def test_absent_ready_and_as_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets = replace(published_datasets()["oxford_pets"], n_classes=3, sizes=Sizes(9, 6, 6))
    monkeypatch.setitem(catalogue._BY_NAME, "oxford_pets", pets)
    found = {one.name: one for one in check_datasets(root)}
    states = {name: one.state for name, one in found.items() if one.state != "absent"}
    assert states == {"oxford_pets": "ready", "cifar10": "ready"}
    assert found["oxford_pets"].sizes == (9, 6, 6)
    assert found["oxford_pets"].as_published
    assert found["cifar10"].sizes == (9, 0, 6)
    assert not found["cifar10"].as_published
    assert found["dtd"].sizes is None


def test_a_broken_layout_is_one_sentence_and_the_others_are_still_read(root: Path) -> None:
    split = root / "oxford_pets" / "split_zhou_OxfordPets.json"
    split.write_text("{}")
    broken, ready = check_datasets(root, ["oxford_pets", "cifar10", "oxford_pets"])
    assert (broken.state, broken.sizes, ready.state) == ("broken", None, "ready")
    assert len(broken.problems) == 1
    assert "is malformed" in broken.problems[0]


def test_every_image_is_opened_on_demand(root: Path) -> None:
    paths = break_images(root, 12)
    assert check_datasets(root, ["oxford_pets"])[0].state == "ready"
    reported: list[tuple[int, int]] = []
    (finding,) = check_datasets(
        root,
        ["oxford_pets"],
        open_images=True,
        progress=lambda done, total: reported.append((done, total)),
    )
    assert (finding.state, finding.broken_images) == ("broken", 12)
    assert len(finding.problems) == 11
    assert finding.problems[-1] == "and 2 images more"
    named = [path for path in paths if any(str(path) in text for text in finding.problems)]
    assert len(named) == 10
    assert reported == [(done, 21) for done in range(1, 22)]
    assert check_datasets(root, ["cifar10"], open_images=True)[0].broken_images == 0


def test_an_unknown_name(root: Path) -> None:
    with pytest.raises(CraftZooError, match="unknown published data set 'digits': choose from im"):
        check_datasets(root, ["digits"])


def test_the_command_lists_without_an_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "folder:PATH" in out
    for published in published_datasets().values():
        assert f"{published.title}: {published.n_classes:,} classes" in out


def test_the_command_checks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(root), "--images") == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["oxford_pets"] == ["ready", "3", "9", "6", "6", "no"]
    assert rows["dtd"] == ["absent"]
    break_images(root, 1)
    assert run("check", str(root)) == 0
    assert run("check", str(root), "--images", "--dataset", "cifar10") == 0
    capsys.readouterr()
    assert run("check", str(root), "--images", "--dataset", "oxford_pets") == 2
    out = capsys.readouterr().out
    assert "broken, 1 images" in out
    assert "oxford_pets: image " in out
    assert "cifar10" not in out


def test_the_command_takes_the_root_from_the_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRAFT_ZOO_DATA", str(root))
    assert run("check") == 0
    monkeypatch.delenv("CRAFT_ZOO_DATA")
    with pytest.raises(CraftZooError, match="write craft-zoo datasets check DIR"):
        run("check")


def test_the_command_on_nothing(root: Path) -> None:
    with pytest.raises(CraftZooError, match=r"holds none of the data sets' folders \(imagenet, "):
        run("check", str(root / "oxford_pets"))
    with pytest.raises(CraftZooError, match=r"holds none of .* \(dtd\): name another"):
        run("check", str(root), "--dataset", "dtd")
    with pytest.raises(CraftZooError, match="nowhere does not exist"):
        run("check", str(root / "nowhere"))


@pytest.mark.parametrize("published", published_datasets().values(), ids=lambda one: one.name)
def test_the_docs_table_is_in_step(published: catalogue.Published) -> None:
    lines = [
        line
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{published.name}` |")
    ]
    assert len(lines) == 2, "one row on what it is, one on where it comes from"
    row = " ".join(lines)
    assert published.title in row
    assert f"`{published.template}`" in row
    assert f"`{published.folder}/`" in row
    assert published.images_from in row
    assert f"| {published.n_classes:,} |" in row
    assert " / ".join(f"{count:,}" for count in published.sizes) in row
    for name in (published.images, published.split, *published.lists, *published.parts):
        assert name is None or name in row
    if published.split_from is not None:
        assert published.split_from in row
    if published.by_hand is not None:
        assert published.by_hand in row
