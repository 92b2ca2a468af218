"""Names of data sets in results: unique, sanitized, and the same in all outputs."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.benchmarks import (
    Point,
    RunSpec,
    RunStore,
    average_curves,
    name_datasets,
    tidy,
    write_config,
)
from craft_zoo.benchmarks.grid import short_name
from craft_zoo.benchmarks.names import distinguished, file_names, markdown_cell, shortened
from craft_zoo.benchmarks.plots import plot_curves, sanitized, save
from craft_zoo.benchmarks.report.tables import markdown, write
from craft_zoo.cli import main
from craft_zoo.data import DatasetSpec
from craft_zoo.printable import printable

RUN = RunSpec("m", DatasetSpec("digits"), "craft", "logit-gn", 1, 1, 100)


def names_of(*runs: RunSpec) -> list[str]:
    return [each.name for each in name_datasets(runs).values()]


def on(*datasets: str) -> list[RunSpec]:
    return [replace(RUN, dataset=DatasetSpec(dataset)) for dataset in datasets]


def curve(end: float = 0.7) -> list[Point]:
    return [Point(q, q / 100 * end, 1.0, 0.1, q, 0, 10, q / 10) for q in (0, 10, 100)]


@pytest.mark.parametrize(
    ("datasets", "names"),
    [
        (["folder:a/images", "folder:b/images"], ["a/images", "b/images"]),
        (["folder:a/images", "digits"], ["images", "digits"]),
        (["folder:/x/a/i", "folder:/y/a/i", "folder:/b/i/"], ["x/a/i", "y/a/i", "b/i"]),
        (["folder:a/pets", "manifest:a/pets"], ["folder:a/pets", "manifest:a/pets"]),
        (["manifest:a/all.csv", "manifest:b/all.csv"], ["a/all.csv", "b/all.csv"]),
        (["folder:a/p@base", "folder:a/p@new"], ["p@base", "p@new"]),
        (["folder:images", "digits"], ["images", "digits"]),
        (["folder:images", "folder:b/images"], ["folder:images", "b/images"]),
        (["folder:digits", "digits"], ["folder:digits", "digits"]),
        (["folder:a/i", "folder:x/a/i"], ["folder:a/i", "x/a/i"]),
    ],
)
def test_the_shortest_end_of_a_path_that_tells_it_apart(
    datasets: list[str], names: list[str]
) -> None:
    assert names_of(*on(*datasets)) == names


@pytest.mark.parametrize(
    "path", ["folder:eurosat", "folder:./eurosat", "folder:/data/eurosat/", "hf:me/eurosat"]
)
def test_a_data_set_has_one_name_wherever_it_lies(path: str) -> None:
    """Methods with settings for published data sets look for it, and a run's identity has it."""
    [run] = on(path)
    assert short_name(path) == "eurosat"
    assert run.identity == replace(run, dataset=DatasetSpec("folder:x/eurosat")).identity


def test_a_name_may_hold_a_colon() -> None:
    assert (
        short_name("folder:a/2026:eurosat") == short_name("folder:2026:eurosat") == "2026:eurosat"
    )


@settings(max_examples=100)
@given(st.lists(st.text("ab/", min_size=1, max_size=7), max_size=8))
def test_distinct_paths_have_distinct_names(paths: list[str]) -> None:
    names = distinguished(paths)
    assert len(set(names.values())) == len(set(paths))


@settings(max_examples=100)
@given(st.lists(st.text(max_size=100), max_size=8))
def test_names_of_files_are_safe_and_distinct(names: list[str]) -> None:
    files = file_names(names)
    assert len(set(files.values())) == len(set(names))
    for name in files.values():
        assert re.fullmatch(r"[a-z0-9.-]+", name)
        assert len(name) < 100
        assert not name.startswith(".")


def test_names_of_files_are_as_they_were_where_they_are_unique() -> None:
    assert file_names(["eurosat, 16 shots: anchors"]) == {
        "eurosat, 16 shots: anchors": "eurosat-16-shots-anchors"
    }


def test_what_else_tells_runs_on_one_folder_apart() -> None:
    def named(file: str, data: str) -> RunSpec:
        return replace(RUN, dataset=DatasetSpec("folder:a/pets", file), data=data)

    one = named("x/names.txt", "1")
    assert names_of(one, replace(one, seed=2)) == ["pets", "pets"]
    assert names_of(one, named("short.txt", "2")) == [*("pets (names.txt)", "pets (short.txt)")]
    assert names_of(one, named("y/names.txt", "2")) == [
        *("pets (x/names.txt)", "pets (y/names.txt)")
    ]
    assert names_of(one, replace(one, measured_on="val")) == ["pets", "pets (on val)"]
    coop = replace(one, dataset=replace(one.dataset, sampling="coop"))
    assert names_of(one, coop) == ["pets", "pets (coop shots)"]
    assert names_of(one, replace(one, data="23456789")) == ["pets (data 1)", "pets (data 234567)"]
    # Points of different tasks are never averaged.
    points = tidy({one: curve(), replace(one, measured_on="val"): curve(0.1)})
    assert points["dataset"].nunique() == 2
    assert len(average_curves(points)) == 6


HARD = [
    *("under_$5_$10", "$", "a$b", r"back\$slash$", r"$\frac{", "_hidden", "__", "{}", "%s %(a)s"),
    *("模型", "模式", "😀", "a\x1b[31mred", "tab\tand\nline", "\u202eevil", "<script>&'\"", "^~#&"),
    *("..", "con", "ключ", "\ud800", "[bold]", "a|b", "e\u0301", "x" * 300),
]


@pytest.mark.parametrize("name", HARD)
def test_any_name_is_drawn_as_it_is(name: str) -> None:
    figure, axis = plt.subplots()
    text = axis.set_title(sanitized(name))
    assert axis.get_title()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    shown, is_math = text._preprocess_math(text.get_text())  # type: ignore[attr-defined]
    plt.close(figure)
    assert not is_math
    if name.isascii() and name.isprintable() and len(name) < 60:
        assert shown == name


def test_files_of_every_format_hold_any_name(tmp_path: Path) -> None:
    figure, axis = plt.subplots()
    for place, name in enumerate(HARD):
        axis.text(0, place, sanitized(name))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*Glyph.*")
        *_, svg = save(figure, tmp_path, "names", ("png", "pdf", "svg"))
    ElementTree.parse(svg)  # well-formed


def test_drawn_names_stay_apart() -> None:
    alike = [*HARD, "x" * 150 + "y" + "x" * 149, r"\x1b", "x" * 299]
    assert len({sanitized(name) for name in alike}) == len(set(alike))
    assert len({shortened("y" * n) for n in range(40, 90)}) == 50


@settings(max_examples=200)
@given(st.text())
def test_printable_is_one_line_that_any_file_holds(name: str) -> None:
    shown = printable(name)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    if name.isascii() and name.isprintable():
        assert shown == name


def test_tables_for_a_paper_are_valid_latex(tmp_path: Path) -> None:
    table = pd.DataFrame({"data set": [r"a\b_c^d~e$f{g}&%#", "[<|>]*"], "95 %": [1.0, 2.0]})
    write(table.assign(p=0.0001), tmp_path, "t")
    assert (tmp_path / "t.tex").read_text().splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"data set & 95 \% & p \\",
        r"\midrule",
        r"a\textbackslash{}b\_c\textasciicircum{}d\textasciitilde{}e\$f\{g\}\&\%\#"
        r" & 1.0 & $<$ 0.001 \\",
        r"{[}$<$\textbar{}$>$]{*} & 2.0 & $<$ 0.001 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_tables_in_markdown_hold_any_name() -> None:
    row = markdown(pd.DataFrame({"a": ["x|y <b> $1$ [z](w)"], "b": [1.0]})).splitlines()[2]
    assert row == r"| x\|y \<b> \$1\$ \[z\](w) | 1.0 |"
    assert markdown_cell("craft (logit-gn), two_words") == "craft (logit-gn), two_words"


def stored(folder: Path, datasets: list[str], variant: str = "") -> None:
    made = {
        replace(run, method=method, optimizer="none", seed=seed, data=run.dataset.name): curve(
            0.1 * seed
        )
        for run in on(*datasets)
        for method in ("craft-released", "refine", "zip")
        for seed in (1, 2)
    }
    if variant:
        changed = replace(next(iter(made)), budget=90)
        made[changed] = curve()
    store = RunStore(folder)
    for run, points in made.items():
        store.save(run, points, None)
    write_config(made, folder, {changed: variant} if variant else {})


def test_two_data_sets_of_one_name_have_two_of_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("craft_zoo.benchmarks.report.figures._FORMATS", ("png",))
    stored(tmp_path, ["folder:a/images", "folder:b/images"])
    assert main(["report", str(tmp_path)]) == 0
    report = tmp_path / "report"
    assert {path.name for path in (report / "figures").glob("curves-*.png")} == {
        *("curves-a-images-1-shot.png", "curves-b-images-1-shot.png")
    }
    assert {path.name for path in (report / "tables").glob("accuracy-*.csv")} == {
        *("accuracy-a-images-1-shot.csv", "accuracy-b-images-1-shot.csv")
    }
    costs = pd.read_csv(report / "tables" / "costs.csv")
    assert costs["data set"].value_counts().to_dict() == {"a/images": 3, "b/images": 3}
    page = (report / "report.html").read_text()
    assert page.count("<h2>a/images, 1 shot</h2>") == page.count("<h2>b/images, 1 shot</h2>") == 1
    assert "below 5 seeds no interval, but the single seeds" in page
    assert "Only 2 seeds" in page
    capsys.readouterr()
    assert main(["compare", "zip", "refine", "--in", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "4 pairs of runs" in said
    assert "a/images (1 shot), b/images (1 shot)" in said


@pytest.mark.slow
def test_a_report_of_the_hardest_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other formats hold them, too, see test_files_of_every_format_hold_any_name.
    monkeypatch.setattr("craft_zoo.benchmarks.report.figures._FORMATS", ("svg",))
    hardest = ["..", "con", "$", "{}", "\ud800", "a|b", "模型", "<script>&'\"", "x" * 300]
    stored(tmp_path, [f"folder:d/{name}" for name in hardest], "_$x$ <b> \x1b")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*Glyph.*")
        assert main(["report", str(tmp_path)]) == 0
    figures = list((tmp_path / "report" / "figures").glob("curves-*.svg"))
    assert len(figures) == len(hardest)
    for path in figures:
        ElementTree.parse(path)  # well-formed
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<script>&" not in page


def test_curves_of_data_sets_of_one_name_are_two_panels(tmp_path: Path) -> None:
    runs = on("folder:a/$i$", "folder:b/$i$")
    _, svg = plot_curves(average_curves(tidy(dict.fromkeys(runs, curve()))), tmp_path)
    text = svg.read_text().replace("\\$", "$")  # comments keep the escapes
    assert "<!-- a/$i$, 1 shot -->" in text
    assert "<!-- b/$i$, 1 shot -->" in text
