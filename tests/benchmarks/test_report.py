"""The report: figures and tables equal the measurements, and the page is self-contained."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from craft_zoo.benchmarks import (
    Point,
    RunSpec,
    RunStore,
    average_curves,
    read_results,
    tidy,
    write_config,
)
from craft_zoo.benchmarks.commands import command
from craft_zoo.benchmarks.names import markdown_cell
from craft_zoo.benchmarks.plots import label_ends
from craft_zoo.benchmarks.report import tables, write_report
from craft_zoo.benchmarks.report.page import _over_tasks, _shared
from craft_zoo.benchmarks.report.paper import write_for_paper
from craft_zoo.benchmarks.results import Results
from craft_zoo.cli import main
from craft_zoo.cli.main import build_parser
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec

METHODS = {"craft": 0.7, "craft-released": 0.5, "anchors": 0.6, "zero-shot": 0.2, "coop": 0.65}


def runs() -> dict[RunSpec, list[Point]]:
    """Artificial curves of five methods on three tasks with three seeds, and a variant."""
    rng = np.random.default_rng(0)
    made = {}
    for dataset, shots in (("digits", 1), ("digits", 16), ("folder:a/eurosat", 16)):
        for seed in (1, 2, 3):
            for method, end in METHODS.items():
                optimizer = "logit-gn" if method == "craft" else "none"
                run = RunSpec("m@tag", DatasetSpec(dataset), method, optimizer, shots, seed, 1000)
                noise = 0.02 * rng.standard_normal()
                made[run] = curve(0.2, end + noise, anchors=method == "anchors")
                if method == "craft" and shots == 16:
                    changed = replace(run, config=CraftConfig(context="unified"))
                    made[changed] = curve(0.2, end - 0.1 + noise)
    return made


def curve(start: float, end: float, *, anchors: bool = False) -> list[Point]:
    return [
        Point(
            queries=queries,
            accuracy=start + (end - start) * queries / 1000,
            train_accuracy=1.0,
            loss=0.1,
            search_predictions=160 * queries,
            refiner_predictions=0,
            evaluation_predictions=100,
            seconds=queries / 10,
            image_predictions=3.5 if anchors else 1.0,
        )
        for queries in (0, 10, 100, 1000)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    store, made = RunStore(folder), runs()
    for run, points in made.items():
        store.save(run, points, None)
    names = {run: "one <context>" for run in made if run.config.context == "unified"}
    write_config(made, folder, names)
    words = ["report", str(folder), "--title", "Trial & error", "--style", "paper"]
    assert main(words) == 0
    return folder


class Page(HTMLParser):
    """Collects ids, links and tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.links += [str(v) for k, v in given.items() if k in ("href", "src", "xlink:href")]


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    text = (folder / "report" / "report.html").read_text()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith(("#", "data:")), link
        if link.startswith("#"):
            assert link[1:] in page.ids
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{name}" for name in page.ids}
    assert "Trial &amp; error" in text
    assert "one &lt;context&gt;" in text


def test_the_page_in_markdown_shows_the_same_tables_and_existing_figures(folder: Path) -> None:
    text = (folder / "report" / "report.md").read_text()
    assert text.startswith("# Trial & error\n")
    pictures = re.findall(r"\]\((.+?)\)", text)
    assert "figures/shots.png" in pictures
    for picture in pictures:
        assert (folder / "report" / picture).stat().st_size > 10_000
    for name in ("overview", "differences", "shots", "costs", "variants-digits-16-shots"):
        table = pd.read_csv(folder / "report" / "tables" / f"{name}.csv")
        assert f"| {' | '.join(map(markdown_cell, table.columns))} |" in text
    assert text.count("| craft (logit-gn) |") >= 5


def points(method: str, seed: int, *curve: tuple[int, float], shots: int = 16) -> pd.DataFrame:
    run = RunSpec("m", DatasetSpec("folder:a/b"), method, "none", shots, seed, 100)
    about = {"train_accuracy": 1.0, "loss": 0.0, "seconds": 2.0}
    about |= {"search_predictions": 1, "refiner_predictions": 0, "evaluation_predictions": 0}
    return tidy({run: [Point(queries=q, accuracy=a, **about) for q, a in curve]})  # type: ignore[arg-type]


def test_accuracies_are_read_off_the_mean_curve() -> None:
    measured = pd.concat(
        [
            points("craft-released", 1, (0, 0.1), (50, 0.5), (100, 0.6)),
            points("craft-released", 2, (0, 0.1), (40, 0.3), (100, 0.8)),
            points("refine", 1, (0, 0.1), (1, 0.7)),
            points("refine", 2, (0, 0.1), (1, 0.75)),
            points("zip", 1, (0, 0.1), (100, 0.2)),
            points("zip", 2, (0, 0.1), (100, 0.2)),
        ]
    )
    table = tables.accuracies(measured, average_curves(measured)).set_index("method")
    assert list(table.index) == ["refine", "craft-released", "zip"]  # by area
    assert list(table.loc["refine", ["1", "10", "100"]]) == pytest.approx([72.5, 72.5, 72.5])
    assert list(table.loc["craft-released", ["1", "10", "100"]]) == pytest.approx([10, 10, 70])
    assert table.loc["refine", "reaches"] == 1
    assert table.loc["craft-released", "reaches"] == 100
    assert np.isnan(table.loc["zip", "reaches"])
    alone = points("zip", 1, (0, 0.1), (100, 0.2))
    assert "reaches" not in tables.accuracies(alone, average_curves(alone))


def test_the_worst_single_run_is_compared_with_zero_shot() -> None:
    table = tables.by_shots(
        pd.concat(
            [
                points("zero-shot", 1, (0, 0.3), shots=1),
                points("zero-shot", 2, (0, 0.3), shots=1),
                points("refine", 1, (0, 0.3), (1, 0.5), shots=1),
                points("refine", 2, (0, 0.3), (1, 0.25), shots=1),
                points("zero-shot", 1, (0, 0.3)),
                points("refine", 1, (0, 0.3), (1, 0.9)),
            ]
        )
    ).set_index("method")
    assert list(table.columns) == ["data set", "1", "16", "worst run"]
    row = table.loc["refine", ["1", "16", "worst run"]]
    assert row.astype(float).tolist() == pytest.approx([37.5, 90, -5])
    assert table.loc["zero-shot", "worst run"] == 0


def test_several_models_are_compared_with_their_own_references() -> None:
    measured = pd.concat(
        [
            points(method, 1, (0, start), (100, end), shots=shots).assign(
                model=model, label=f"{method}, {model}"
            )
            for shots in (1, 16)
            for model, start in (("small", 0.2), ("large", 0.5))
            for method, end in (
                ("zero-shot", start),
                ("craft-released", start + 0.1),
                ("refine", start + 0.2),
            )
        ]
    )
    worst = tables.by_shots(measured).set_index("method")["worst run"]
    for model in ("small", "large"):
        assert worst[f"zero-shot, {model}"] == 0
        assert worst[f"refine, {model}"] == pytest.approx(20)
    mine = measured[measured["shots"] == 1]
    reaches = tables.accuracies(mine, average_curves(mine)).set_index("method")["reaches"]
    assert reaches["refine, small"] == reaches["refine, large"] == 100


def test_methods_that_lack_a_task_have_no_runtimes_over_all_tasks(tmp_path: Path) -> None:
    made = {run: curve for run, curve in runs().items() if run.config == CraftConfig()}
    some = {
        run: curve
        for run, curve in made.items()
        if run.shots == 1 or (run.seed == 1 and run.method != "anchors")
    }
    points = tidy(some)
    shared = _shared(points, _over_tasks(points)[0])
    assert set(points["label"]) - set(shared["label"]) == {"anchors"}
    pairs = shared.groupby(["dataset", "shots"])["seed"].nunique()
    assert pairs.to_dict() == {("digits", 1): 3, ("digits", 16): 1, ("folder:a/eurosat", 16): 1}
    alone = {
        run: curve for run, curve in made.items() if (run.method == "craft") == (run.shots > 1)
    }
    report = write_report(Results(alone, dict.fromkeys(alone, ""), [], [], [], {}), tmp_path, "t")
    assert "Not run on every task" in report.read_text()
    assert not (tmp_path / "figures" / "runtimes.png").exists()


def test_the_front_is_the_best_for_at_most_that_cost(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "tables" / "pareto.csv")
    assert set(table["method"]) == {"craft (logit-gn)", "craft-released", "anchors", "zero-shot"}
    ends = {name: end for name, end in METHODS.items() if name != "coop"}
    assert len(table) == 3 * len(ends)
    for _, task in table.groupby(["data set", "shots"]):
        on = task.set_index("method")["on the front"]
        assert on.tolist() == ["yes", "no", "no", "no"]  # anchors cost more and have less
    run = next(iter(runs()))
    made = {
        replace(run, method=method, optimizer="none", seed=seed): [
            replace(point, image_predictions=cost) for point in curve(0.2, end)
        ]
        for method, end, cost in (
            ("refine", 0.3, 1.0),
            ("zero-shot", 0.2, 1.0),
            ("anchors", 0.5, 5.0),
            ("craft-anchors", 0.4, 7.0),
        )
        for seed in (1, 2)
    }
    front = tables.pareto(tidy(made)).set_index("method")
    assert front["on the front"].to_dict() == {
        "refine": "yes",
        "zero-shot": "no",
        "anchors": "yes",
        "craft-anchors": "no",
    }
    assert front["per image"].tolist() == [1, 1, 5, 7]
    assert front["accuracy"].tolist() == pytest.approx([30, 20, 50, 40])
    page = (folder / "report" / "report.html").read_text()
    assert 'id="figure-pareto"' in page
    assert (folder / "report" / "figures" / "pareto.pdf").exists()


def test_without_anchors_there_is_no_figure_of_costs(tmp_path: Path) -> None:
    store, run = RunStore(tmp_path), next(iter(runs()))
    store.save(run, curve(0.2, 0.5), None)
    write_config([run], tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    assert not (tmp_path / "report" / "figures" / "pareto.png").exists()
    assert "pareto" not in (tmp_path / "report" / "report.md").read_text()


def test_markdown_rounds_and_leaves_missing_values_empty() -> None:
    table = pd.DataFrame({"a": ["x|", "y"], "b": [1.26, np.nan], "c": [1000, 2]})
    assert tables.markdown(table).splitlines() == [
        *("| a | b | c |", "| --- | --: | --: |", "| x\\| | 1.3 | 1,000 |", "| y |  | 2 |")
    ]


def test_files_for_a_paper(folder: Path) -> None:
    figures = {path.name for path in (folder / "report" / "figures").iterdir()}
    for name in ("ranks", "profile", "runtimes", "curves-digits-16-shots-anchors"):
        assert {f"{name}.png", f"{name}.svg", f"{name}.pdf"} <= figures
    tables = folder / "report" / "tables"
    latex = (tables / "overview.tex").read_text()
    assert "\\toprule" in latex
    assert "95 \\% interval, or each seed: mean" in latex
    overview = pd.read_csv(tables / "overview.csv").set_index("method")
    ends = [points[-1].accuracy for run, points in runs().items() if run.method == "anchors"]
    assert overview.loc["anchors", "mean"] == pytest.approx(100 * np.mean(ends))
    assert overview.loc["craft (logit-gn)", "average rank"] == 1
    differences = pd.read_csv(tables / "differences.csv").set_index("method")
    assert differences.loc["craft (logit-gn)", "minus craft-released"] == pytest.approx(20, abs=2)
    variants = pd.read_csv(tables / "variants-digits-16-shots.csv")
    assert variants["method"].tolist() == ["one <context>"]


def test_figures_in_the_style_of_a_paper(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in (folder / "report/figures/paper").iterdir()}
    sizes = {
        name: float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", content)[1])  # type: ignore[index]
        for name, content in files.items()
    }
    assert sizes == {name: 234 if name.endswith("-column.pdf") else 486 for name in files}
    for name in ("ranks", "profile", "runtimes", "variants-digits-16-shots"):
        assert {f"{name}-column.pdf", f"{name}-page.pdf"} <= set(files)
    panels = {name for name in files if name.startswith("curves-digits")}
    assert len(panels) == 8  # 1 and 16 shots, two tracks, two widths
    assert {"shots-page.pdf", "pareto-page.pdf"} <= set(files)
    assert "shots-column.pdf" not in files
    assert all(b"STIXGeneral" in content for content in files.values())


def test_a_paper_has_its_names_in_a_legend_below(tmp_path: Path) -> None:
    figure, axis = plt.subplots(layout="constrained")
    axis.plot([0, 1], [1, 2], color="red", linestyle=(0, (1, 2)), gid="one")
    axis.plot([0, 1], [1, 3], color="blue", gid="two")
    ends = [(2.0, "_one  2.0", "red"), (3.0, "two  3.0", "blue")]
    label_ends(axis, ends, {"_one  2.0": "one", "two  3.0": "two"})
    [column, page] = write_for_paper(figure, tmp_path, "a")
    assert (column.name, page.name) == ("a-column.pdf", "a-page.pdf")
    assert not axis.texts
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["two", "_one"]
    assert max(each.get_fontsize() for each in figure.findobj(Text) if each.get_text()) <= 8


def test_a_table_for_a_paper_has_the_best_in_bold() -> None:
    measured = pd.concat(
        [
            *(points("craft-released", seed, (100, 0.5 + 0.1 * seed)) for seed in (1, 2, 3)),
            *(points("refine", seed, (1, 0.9)) for seed in (1, 2)),
            points("refine", 1, (1, 0.3), shots=1),
            points("coop", 1, (0, 0.95)),
        ]
    )
    measured["data_name"] = "a_b & c"
    assert tables.for_paper(measured).splitlines()[1:] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" & a\_b \& c & a\_b \& c \\",
        r"shots & 16 & 1 \\",
        r"\midrule",
        r"craft-released & $70.0 \pm 10.0$ & -- \\",
        r"refine & $\mathbf{90.0} \pm 0.0$ & $\mathbf{30.0}$ \\",
        r"\midrule",
        r"coop & $95.0$ & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_the_same_results_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    results = read_results(folder)
    few = {
        run: points
        for run, points in results.curves.items()
        if run.shots == 1 and run.method in ("craft", "craft-released")
    }
    results = replace(results, curves=few)
    one, other = tmp_path / "one", tmp_path / "other"
    for report in (one, other):
        write_report(results, report, "Trial & error")
    files = list(one.rglob("*.*"))
    assert {path.suffix for path in files} >= {".html", ".md", ".png", ".svg", ".pdf", ".csv"}
    for path in files:
        assert (other / path.relative_to(one)).read_bytes() == path.read_bytes(), path


def test_what_is_not_there_is_said(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("craft_zoo.benchmarks.report.figures._FORMATS", ())
    shutil.copytree(folder / "runs", tmp_path / "runs")
    shutil.copy(folder / "config.json", tmp_path)
    gone, broken = list((tmp_path / "runs").glob("digits-anchors*"))[:2]
    shutil.rmtree(gone)
    (broken / "run.json").write_text("{")
    assert main(["report", str(tmp_path)]) == 0
    text = (tmp_path / "report" / "report.html").read_text()
    said = capsys.readouterr().out
    for note in (f"Left out: 2 runs of {tmp_path}, unfinished.", str(broken / "run.json")):
        assert note in text
        assert note in said
    assert "Not run on every task" not in text  # seeds of it are
    assert "Of 9 pairs of task and seed 2 lack a method" in text


def test_one_run_has_a_report_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(iter(runs()))
    RunStore(tmp_path).save(run, curve(0.2, 0.7), None)
    assert main(["report", str(tmp_path)]) == 0
    assert "One seed gives no spread" in (tmp_path / "report" / "report.html").read_text()
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "holds no results" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--out", "/proc/nowhere"]) == 2
    assert "choose another folder (--out)" in capsys.readouterr().err


def test_a_runs_command_makes_it_again() -> None:
    run = next(iter(runs()))
    changed = replace(
        run,
        dataset=replace(run.dataset, classnames="a b.txt"),
        config=CraftConfig(context="unified", lr=0.1),
        precision="bf16",
    )
    words = shlex.split(command(changed))
    options = build_parser().parse_args(words[1:])
    assert (options.model, options.pretrained) == ("m", "tag")
    assert (options.classnames, options.seed, options.budget) == ("a b.txt", [1], 1000)
    assert options.set == ["context=unified", "lr=0.1"]
    assert options.precision == "bf16"
    served = replace(
        run, model="openai:m@https://host/v1", answer_options="descriptions=1a2b3c4d,permutations=2"
    )
    options = build_parser().parse_args(shlex.split(command(served))[1:])
    assert (options.model, options.pretrained) == ("openai:m@https://host/v1", None)
    assert options.model_option == ["descriptions=FILE", "permutations=2"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_in_a_browser(folder: Path, browser: Any, look: str) -> None:
    context = browser.new_context(
        viewport={"width": 390 if look == "phone" else 1200, "height": 900},
        color_scheme="dark" if look == "dark" else "light",
    )
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    address = f"file://{folder / 'report' / 'report.html'}"
    page.goto(address)
    assert heard == [address]
    # Nothing but what scrolls by itself is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator(".methods input").first
    if look == "phone":
        assert not box.is_visible()
        page.locator(".methods summary").click()
    line = page.locator(f"figure .{box.get_attribute('data-line')}").first
    assert line.is_visible()
    box.uncheck()
    assert not line.is_visible()
    page.locator("#all").click()
    assert line.is_visible()
    column = page.locator("#overview table").first.locator("tbody th")
    before = column.all_inner_texts()
    button = page.locator("#overview thead button").first
    button.click()
    assert column.all_inner_texts() == sorted(before, reverse=True)
    button.click()
    assert column.all_inner_texts() == sorted(before)
    ink = page.locator("figure svg text").first.evaluate("node => getComputedStyle(node).fill")
    assert ink == ("rgb(232, 232, 232)" if look == "dark" else "rgb(27, 27, 27)")
    page.emulate_media(media="print")
    assert not page.locator(".methods").is_visible()
    assert heard == [address]
    context.close()
