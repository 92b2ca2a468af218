"""Help texts, responses to misspelt words, and names that look like markup."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from craft_zoo.cli import main
from craft_zoo.cli.arguments import settings_help
from craft_zoo.cli.main import COMMANDS, build_parser
from craft_zoo.console import open_console
from craft_zoo.methods import method_names, readers_of, setting_options


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) <= 2
    return said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_an_example_that_is_read(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, name)
    example = re.search(r"^example:\n  craft-zoo (.+)$", text, re.MULTILINE)
    assert example is not None
    assert build_parser([name]).parse_args(example[1].split()).run
    assert max(map(len, text.splitlines())) <= 80


GROUPS = {
    "tune": ("data", "method", "output", "model", "money"),
    "serve": ("adapter", "model", "money", "server", "keys", "answers and limits"),
}


@pytest.mark.parametrize("name", ["tune", "predict", "evaluate", "serve"])
def test_options_are_grouped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, name)
    for title in GROUPS.get(name, ("model", "money")):
        assert len(re.findall(rf"^{title}:$", text, re.MULTILINE)) == 1
    options = text.partition("\noptions:\n")[2].partition("\n\n")[0]
    assert len(options.splitlines()) == 1  # --help


def test_the_help_lists_every_command_without_loading_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_of(capsys)
    for name, (summary, _) in COMMANDS.items():
        assert re.search(rf"^    {name}\s+{re.escape(summary)}", text, re.MULTILINE)
    modules = "import sys; from craft_zoo.cli import main\ntry: main(sys.argv[1:])\nfinally: "
    modules += "assert not {'torch', 'scipy', 'rich'} & set(sys.modules), 'loaded'"
    for word in ("--help", "--version", "predcit"):
        ended = subprocess.run([sys.executable, "-c", modules, word], capture_output=True)
        assert ended.returncode == (2 if word == "predcit" else 0)
        assert b"loaded" not in ended.stderr
    assert subprocess.run([sys.executable, "-m", "craft_zoo", "--version"]).returncode == 0


def test_every_setting_is_said_with_the_methods_that_read_it() -> None:
    text = settings_help()
    assert max(map(len, text.splitlines())) < 80
    lines = re.sub(r"\n    ", " ", text).splitlines()[1:]
    readers = {}
    for line in lines:
        names, _, settings = line.strip().partition(": ")
        for setting in re.findall(r"([\w.-]+)=", settings):
            readers[setting] = list(method_names()) if names == "all" else names.split(", ")
    assert readers == {name: readers_of(name) for name in setting_options()}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["predcit", "a", "b"], "did you mean 'predict'?"),
        (["TUNE"], "did you mean 'tune'?"),
        (["--verison"], "did you mean '--version'?"),
        (["tune", "digits", "--bugdet", "5"], "did you mean '--budget'?"),  # and no --out
        (["tune", "digits", "--out=a", "--bugdet=5"], "did you mean '--budget'?"),
        (["tune", "digits", "--out", "a", "--precision", "fp23"], "did you mean 'fp32'?"),
        (["predict", "a", "b", "--treshold", "0.5"], "did you mean '--threshold'?"),
        (["datasets", "chekc"], "did you mean 'check'?"),
        (["tune", "digits", "more", "--out", "a"], "unrecognized argument 'more'"),
        (["bench", "--method", "craft", "refine"], "a method as --method refine"),
        (["tune", "digits", "--out", "a", "--zzzzzz"], "--zzzzzz is no option"),
        (["evaluate", "a", "--dataset", "digits"], "no option of it: give DATASET without it"),
        (["bench", "folder:x"], "'folder:x': a data set is given as --dataset folder:x"),
    ],
)
def test_mistyped_words_on_the_command_line(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meant in mistake(capsys, *words)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["tune", "digist"], "did you mean 'digits'?"),
        (["tune", "pets"], "did you mean folder:pets?"),
        (["tune", "table.csv"], "did you mean manifest:table.csv?"),
        (["tune", "digits", "--model", "ViT-B32"], "did you mean 'ViT-B-32'?"),
        (["tune", "digits", "--model", "vit-b-32"], "did you mean 'ViT-B-32'?"),
        (["tune", "digits", "--method", "anchor"], "did you mean 'anchors'?"),
        (["tune", "digits", "--optimizer", "cmae"], "did you mean 'cma'?"),
        (["tune", "digits", "--optimizer", "cma:popsiz=4"], "did you mean 'popsize'?"),
        (["tune", "digits", "--set", "intrinsic-dim=4"], "did you mean 'intrinsic_dim'?"),
        (["optimizers", "sepcma"], "did you mean 'sep-cma'?"),
    ],
)
def test_mistyped_names(
    words: list[str],
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    (tmp_path / "table.csv").write_text("path,label\n")
    assert main([*words, *(["--out", "a"] if words[0] == "tune" else [])]) == 2
    said = capsys.readouterr().err
    assert meant in said
    assert said.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_values_that_begin_with_dashes_are_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "digits", "--out", "a", "--set", "template=--a photo of a {}"]
    assert build_parser(["tune"]).parse_args(words).set == ["template=--a photo of a {}"]
    assert build_parser(["predict"]).parse_args(["predict", "a", "--", "--x.png"]).images


@pytest.mark.parametrize("name", ["[red]", "[/x]", "pets [new]", ":smile:"])
def test_names_that_look_like_markup_are_printed_as_they_are(
    name: str, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_console().print(name)
    assert capsys.readouterr().out == f"{name}\n"
    folder = tmp_path / "markup" / name
    folder.parent.mkdir(parents=True)
    image_folder.rename(folder)
    out = tmp_path / f"{Path(name).name}.adapter"
    tune = ["tune", f"folder:{folder}", "--out", str(out), "--shots", "2", "--budget", "1"]
    assert main([*tune, "--method", "zero-shot", "--estimate", "none"]) == 0
    assert f"Saved {out}" in capsys.readouterr().out.replace("\n", " ")


def test_a_setting_that_the_method_does_not_read_is_said(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = ["tune", f"folder:{image_folder}", "--out", str(tmp_path / "a"), "--shots", "2"]
    assert main([*tune, "--method", "refine", "--set", "words=2", "--dry-run"]) == 0
    assert "refine does not read the setting words" in capsys.readouterr().out
