"""Rows of ``predict``: broken images, unusual names, and models that bill."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import craft_zoo as cz
from craft_zoo.cli import main
from craft_zoo.cli.predict import Row, _write_csv, _write_lines
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP


@pytest.fixture
def adapter(vlm: OpenCLIP, image_folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "colours.adapter"
    task = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=2, seed=1)
    cz.tune(vlm, task, method="zero-shot").adapter.save(out)
    return out


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "below" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "below/b.png", "below/deep/c.png")):
        Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(folder / name)
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_what_is_no_image_in_a_folder_is_named(
    adapter: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "below" / "notes.txt").write_text("none")
    (pictures / "drawing.svg").write_text("<svg/>")
    assert main(["predict", str(adapter), str(pictures)]) == 0
    said = capsys.readouterr()
    assert [Path(row["image"]).name for row in rows(said.out)] == ["a.png", "b.png", "c.png"]
    assert "notes.txt" in said.err
    assert "drawing.svg" in said.err


def test_a_folder_without_images_says_what_is_there(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    assert main(["predict", str(adapter), str(tmp_path / "empty")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "holds no images" in said.err
    assert "notes.txt" in said.err


def test_an_image_that_only_the_server_cannot_read_costs_its_own_row(
    adapter: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A client sends a JPEG as it is; the server refuses all that came with a broken one."""

    class Server(OpenCLIP):
        def images(self, images: object, *more: object, **others: object) -> object:  # type: ignore[override]
            try:
                return super().images(images, *more, **others)  # type: ignore[arg-type]
            except CraftZooError:
                raise CraftZooError("the server refused: image 1 cannot be decoded") from None

    model = Server.load("craft-mini")
    monkeypatch.setattr("craft_zoo.cli.predict.open_adapters_model", lambda *_: model)
    broken = pictures / "below" / "b.png"
    broken.write_bytes(broken.read_bytes()[:50])
    assert main(["predict", str(adapter), str(pictures), "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert [Path(row["image"]).name for row in rows(said.out)] == ["a.png", "c.png"]
    assert "b.png cannot be read" in said.err
    assert "1 of 3 images skipped" in said.err


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (["--max-predictions", "3"], 0),
        (["--max-predictions", "2"], 2),
        (["--price", "1000", "--max-cost", "3"], 0),
        (["--price", "1000", "--max-cost", "2.9"], 2),
    ],
)
def test_limits_are_looked_at_before_the_first_image(
    adapter: Path,
    pictures: Path,
    vlm: OpenCLIP,
    limit: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask(*_: object) -> OpenCLIP | SimpleNamespace:
        return vlm if code == 0 else SimpleNamespace()  # which cannot be asked

    monkeypatch.setattr("craft_zoo.cli.predict.open_adapters_model", ask)
    assert main(["predict", str(adapter), str(pictures), *limit]) == code
    said = capsys.readouterr()
    assert len(rows(said.out)) == (3 if code == 0 else 0)
    if code:
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert limit[-2] in said.err


def test_a_failure_in_the_middle_leaves_the_old_file(
    adapter: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    monkeypatch.setattr("craft_zoo.cli.predict._BATCH", 1)
    whole, asked = cz.Adapter.ask, []

    def fail(self: cz.Adapter, vlm: OpenCLIP, images: list[Path]) -> object:
        asked.append(images)
        if len(asked) == 3:
            raise CraftZooError("the network is gone")
        return whole(self, vlm, images)

    monkeypatch.setattr(cz.Adapter, "ask", fail)
    assert main(["predict", str(adapter), str(pictures), "--out", str(out)]) == 2
    assert out.read_text() == "old"
    monkeypatch.undo()
    assert main(["predict", str(adapter), str(pictures), "--out", str(out)]) == 0
    assert len(rows(out.read_text())) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_name_that_the_output_cannot_encode_is_escaped(
    adapter: Path, pictures: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Path(os.fsdecode(os.fsencode(pictures) + b"/caf\xe9 \xe6\xa8\xa1.png"))
    (pictures / "a.png").rename(odd)
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(["predict", str(adapter), str(odd)]) == 0
    text = raw.getvalue().decode(encoding)
    assert "\\udce9" in text
    assert len(rows(text)) == 1


NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=20)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4))
def test_every_name_comes_back_from_both_forms(names: list[tuple[str, str]]) -> None:
    found = [Row(image, [(classname, 0.5)], abstains=False) for image, classname in names]
    table, lines = io.StringIO(newline=""), io.StringIO()
    _write_csv(found, table, 1)
    _write_lines(found, lines, 1)
    read = list(csv.reader(io.StringIO(table.getvalue(), newline="")))[1:]
    assert len(read) == len(names)
    for (image, classname, probability), name in zip(read, names, strict=True):
        assert probability == "0.5000"
        for cell, text in ((image, name[0]), (classname, name[1])):
            assert cell.removeprefix("'") == text.removeprefix("'")
            assert cell[0] not in "=+-@\t\r\n＝＋－＠"
    for line, name in zip(lines.getvalue().split("\n"), names, strict=False):
        about = json.loads(line)
        assert (about["image"], about["class"]) == name
