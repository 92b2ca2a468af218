"""The model card: its figures, its thumbnails, that it is self-contained and escapes everything."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import WrappedVLM
from craft_zoo.evaluation import Evaluation
from craft_zoo.openclip import OpenCLIP
from craft_zoo.pages import write_card
from craft_zoo.solution import Solution
from craft_zoo.tuning_record import TuningRecord

CURVE = ((1, 0.25), (40, 0.5), (1200, 0.75))
RECORD = TuningRecord("craft", "logit-gn", "pets <1>", 32, 1, 1200, 38400, 1.5, CURVE)


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def evaluation(names: tuple[str, ...], n_images: int = 40) -> Evaluation:
    rng = np.random.default_rng(0)
    labels = np.arange(n_images) % len(names)
    logits = rng.standard_normal((n_images, len(names))) + 2 * np.eye(len(names))[labels]
    return Evaluation(names, labels, logits, rng.standard_normal(logits.shape), 1.3)


def card(
    vlm: Any,
    names: tuple[str, ...],
    path: Path,
    prompt: Any = None,
    tuned: Any = RECORD,
    **about: Any,
) -> Page:
    box = vlm.classifier(names)
    solution = Solution(box.initial_context if prompt is None else prompt)
    adapter = replace(Adapter.of(solution, vlm, box), tuned=tuned)
    images = [np.full((300, 200, 3), place, np.uint8) for place in range(40)]
    given = {"file": "a.adapter", "dataset": "pets"} | about
    write_card(path, adapter, vlm, evaluation(names), images, **given)
    return Page(path)


def test_the_figures_are_those_of_the_evaluation(tiny_vlm: OpenCLIP, tmp_path: Path) -> None:
    names = ("cat", "dog", "bird")
    found = evaluation(names)
    page = card(tiny_vlm, names, tmp_path / "a.html")
    low, high = found.interval
    assert (
        f"{100 * found.accuracy:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        in page.text
    )
    assert f"(zero-shot) {100 * found.zero_shot_accuracy:.1f} %" in page.text
    assert "1,200 queries, 38,400 predictions, a price of 1.50" in page.text
    assert "32 images of pets <1>, seed 1" in page.text
    before = replace(found, temperature=1.0).calibration_error
    assert f"{100 * found.calibration_error:.1f} points, {100 * before:.1f} without" in page.text
    kept = found.abstain(0.8)
    assert f"{100 * kept.coverage:.1f}{kept.threshold_text}{100 * kept.accuracy:.1f}" in page.text
    assert "cz.Adapter.load('a.adapter')" in page.text
    assert page.text.count("a (0.00) · photo (0.00) · of (0.00) · a (0.00)") == 1
    assert page.tags.count("rect") == len(set((found.probabilities.max(axis=1) * 15).astype(int)))


def test_the_search_is_drawn_where_it_is_known(tiny_vlm: OpenCLIP, tmp_path: Path) -> None:
    names = ("cat", "dog", "bird")
    page = card(tiny_vlm, names, tmp_path / "a.html")
    middle = 40 + 250 * np.log(40) / np.log(1200)
    assert f'points="40.0,197.5 {middle:.1f},135.0 290.0,72.5 "' in page.source
    drawn = page.source.partition('id="search"')[2].partition("</section>")[0]
    assert re.findall(r'text-anchor="middle">([\d,]+)<', drawn) == ["1", "10", "100", "1,200"]
    assert "candidate on the 32 training images" in drawn
    for curve in (None, ((5, 0.5), (5, 0.6)), ((0, 0.5), (1, 0.6))):
        page = card(tiny_vlm, names, tmp_path / "a.html", tuned=replace(RECORD, curve=curve))
        assert 'id="search"' not in page.source


def test_thumbnails_are_of_the_worst_mistakes_and_nothing_else_is_loaded(
    tiny_vlm: OpenCLIP, tmp_path: Path
) -> None:
    names = ("cat", "dog", "bird")
    found = evaluation(names)
    page = card(tiny_vlm, names, tmp_path / "a.html")
    thumbnails = [each for each in page.addresses if each != "data:,"]
    wrong = [i for i in found.surest_first if found.predicted[i] != found.labels[i]]
    assert len(thumbnails) == min(12, len(wrong)) > 5
    prefix = "data:image/jpeg;base64,"
    for place, address in zip(wrong, thumbnails, strict=False):
        image = Image.open(io.BytesIO(base64.b64decode(address.removeprefix(prefix))))
        assert image.size == (107, 160)
        assert abs(np.asarray(image).mean() - place) < 2
    assert "script" not in page.tags
    assert "http" not in page.source.replace(prefix, "")


def test_whatever_is_named_is_escaped(tiny_vlm: OpenCLIP, tmp_path: Path) -> None:
    bad = "<script>alert('1')</script>\"&\x1b[31m"
    names = (f"cat {bad}", f"dog {bad}")
    record = replace(RECORD, dataset=bad[:-5], method=bad[:-5])
    templates = tuple(f"a {{}} {bad[:-5]}." for _ in names)
    page = card(
        tiny_vlm, names, tmp_path / "a.html", templates, record, file=bad, dataset=bad, note=bad
    )
    assert "script" not in page.tags
    assert "<script" not in page.source
    assert "\x1b" not in page.source
    assert page.text.count("<script>") > 20


def test_a_card_of_many_classes_names_the_confusions(tiny_vlm: OpenCLIP, tmp_path: Path) -> None:
    names = tuple(f"number {place} of them" for place in range(40))
    page = card(tiny_vlm, names, tmp_path / "a.html", note="One.\n\nTwo.")
    assert "The most frequent confusions" in page.text
    assert "cell" not in re.findall(r'<td class="(\w+)"', page.source)
    assert page.source.count("<p>One.</p>\n<p>Two.</p>") == 1


class Unknown(WrappedVLM):
    """A model whose embeddings are not known."""

    def nearest_words(self, vectors: np.ndarray) -> None:
        return None


def test_a_served_model_and_an_adapter_without_a_record(tiny_vlm: OpenCLIP, tmp_path: Path) -> None:
    names = ("cat", "dog")
    page = card(Unknown(tiny_vlm), names, tmp_path / "a.html", tuned=None)
    assert "Prompt" not in page.text
    assert "tuned on" not in page.text
    words = card(Unknown(tiny_vlm), names, tmp_path / "b.html", "a sketch of a {}.")
    assert "a sketch of a …." in words.text


def test_the_nearest_words_of_embeddings_are_their_own(tiny_vlm: OpenCLIP) -> None:
    context = tiny_vlm.classifier(["cat"]).initial_context
    words, distances = zip(*tiny_vlm.nearest_words(context * 1.001), strict=True)
    assert words == ("a", "photo", "of", "a")
    assert np.allclose(distances, 0.001 * np.linalg.norm(context, axis=1), rtol=0.1)
