"""Backgrounds: drawn images, whitening, files, the command, and anchors that use one."""

from __future__ import annotations

import copy
import json
import shlex
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.adapter import Adapter
from craft_zoo.anchors import Anchors, Background, BackgroundFile, ask_background
from craft_zoo.anchors.background import spread
from craft_zoo.benchmarks import RunSpec, combine, cross
from craft_zoo.blackbox import ModelSpec
from craft_zoo.cli.main import main
from craft_zoo.craft import CraftConfig, RefinerFitter
from craft_zoo.data import DatasetSpec, dead_leaves, few_shot, load_dataset
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.methods import readers_of
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner.convex import centred
from craft_zoo.tuning import tune

WORDS = tuple("abcdefgh")


def background(seed: int = 0, words: tuple[str, ...] = WORDS) -> Background:
    """Of logits whose variances differ by a factor of 100."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((50, len(words))) * np.geomspace(1, 10, len(words))
    return Background("craft-mini", 50, words, np.cov(centred(mixed), rowvar=False))


def fitter_of(
    labels: np.ndarray, words: tuple[str, ...], asked: np.ndarray, known: Background | None
) -> RefinerFitter:
    """Fits a refiner whose anchors are words, of which (N, M) logits were asked."""
    return RefinerFitter(
        labels=labels,
        classnames=(),
        discriminant=True,
        initial_answer=True,
        anchors=Anchors(words, ("a {}",)),
        anchor_logits=asked,
        background=known,
    )


def test_drawn_images_depend_on_the_seed_alone() -> None:
    few, more = dead_leaves(2), dead_leaves(3)
    assert all(np.array_equal(one, two) for one, two in zip(few, more, strict=False))
    assert not np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], dead_leaves(1, seed=1)[0])
    assert all(image.shape == (224, 224, 3) and image.dtype == np.uint8 for image in more)
    assert np.mean([image.std() for image in more]) > 20  # they are not of one colour


@given(st.integers(0, 99), st.permutations(WORDS), st.integers(2, len(WORDS)))
def test_whitened_logits_vary_alike(seed: int, order: list[str], count: int) -> None:
    known, words = background(seed), order[:count]
    places = [WORDS.index(word) for word in words]
    matrix = known.whitening(words)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    logits = np.random.default_rng(seed).multivariate_normal(
        np.zeros(len(WORDS)), known.covariance, 5000
    )
    given_, whitened = centred(logits[:, places]), centred(logits[:, places]) @ matrix
    np.testing.assert_allclose(whitened.sum(axis=1), 0, atol=1e-3)

    def spread(values: np.ndarray) -> float:
        variances = np.linalg.eigvalsh(np.cov(values, rowvar=False))[1:]
        return float(variances[-1] / variances[0])

    assert spread(whitened) < max(1.6, spread(given_))


@given(st.integers(0, 99), st.integers(2, 30))
def test_variance_and_directions_are_estimated_from_few_images(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((40, rank)))[0]
    few = [spread((rng.standard_normal((10, rank)) + 5) @ mixing.T) for _ in range(400)]
    assert np.mean([variance for variance, _ in few]) == pytest.approx(rank, rel=0.1)
    assert all(1 <= directions <= 40 for _, directions in few)
    many = (rng.standard_normal((2000, rank)) + 5) @ mixing.T
    np.testing.assert_allclose(spread(many), [rank, rank], rtol=0.15)


def test_images_like_those_of_a_background_are_known() -> None:
    rng, words = np.random.default_rng(0), tuple(f"w{number}" for number in range(40))
    scales = np.geomspace(1, 0.03, 40)
    known = Background(
        "m", 400, words, np.cov(rng.standard_normal((400, 40)) * scales, rowvar=False)
    )

    def share(scale: np.ndarray, count: int = 10) -> float:
        draws = (centred(rng.standard_normal((count, 40)) * scale) for _ in range(50))
        return float(np.mean([known.is_like(draw, words) for draw in draws]))

    assert share(scales) > 0.9
    assert share(3 * scales) == 0  # they vary more
    assert share(scales * (np.arange(40) < 8)) < 0.1  # in fewer directions
    assert share(scales, count=7) == 0  # too few to tell


def test_directions_of_many_images_need_little_memory() -> None:
    many = np.random.default_rng(0).standard_normal((3000, 20), dtype=np.float32)
    tracemalloc.start()
    np.testing.assert_allclose(spread(many), [20, 20], rtol=0.05)
    assert tracemalloc.get_traced_memory()[1] < 20 * many.nbytes  # all pairs of images are 300
    tracemalloc.stop()


@pytest.mark.parametrize("shots", [1, 4])
def test_a_background_of_images_like_those_of_the_task_is_left_out(shots: int) -> None:
    """Whitening by it would make what tells the classes apart as small as everything else."""
    rng = np.random.default_rng(2)
    words = tuple(f"w{number}" for number in range(60))
    means = 3 * rng.standard_normal((10, 60)) * np.geomspace(1, 0.01, 60)

    def ask(labels: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal((len(labels), 60)) * np.geomspace(1, 0.01, 60)
        return (means[labels] + noise).astype(np.float32)

    unlabelled = centred(ask(rng.integers(10, size=500)))
    own = Background("m", 500, words, np.cov(unlabelled, rowvar=False))
    labels = np.repeat(np.arange(10), shots)
    asked, logits = ask(labels), np.zeros((len(labels), 10), np.float32)
    fitter = fitter_of(labels, words, asked, own)
    with pytest.warns(CraftZooWarning, match="^the background is left out"):
        solution = fitter.solution("a {}", fitter.fit(logits))
    without = fitter_of(labels, words, asked, None)
    expected = without.solution("a {}", without.fit(logits))
    new = ask(labels)
    np.testing.assert_array_equal(solution.refine(logits, new), expected.refine(logits, new))


@pytest.mark.parametrize("shots", [1, 3])
def test_the_deployed_refiner_takes_the_logits_as_they_are(shots: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), shots)
    logits = rng.standard_normal((len(labels), 4)).astype(np.float32)
    # The classes differ where the background varies least, so that it is not left out.
    words = tuple(f"w{number}" for number in range(40))
    texts = rng.standard_normal((12, 40)) * np.geomspace(1, 0.03, 12)[:, None]
    of_anything = rng.standard_normal((900, 12)) @ texts
    known = Background("m", 900, words, np.cov(centred(of_anything), rowvar=False))
    features = 4 * np.eye(12)[11 - labels] + rng.standard_normal((len(labels), 12))
    asked = (features @ texts).astype(np.float32)
    fitter = fitter_of(labels, words, asked, known)
    with warnings.catch_warnings(action="error"):
        refiner = fitter.fit(logits)
    deployed = fitter.solution("a {}", refiner).refine(logits, asked)
    np.testing.assert_allclose(deployed, refiner.refine(logits, fitter.anchor_logits), atol=1e-4)
    assert np.abs(deployed - logits).max() > 0.01


def test_the_training_accuracy_is_that_of_the_adapter(
    tiny_vlm: OpenCLIP, image_folder: Path, tmp_path: Path
) -> None:
    """The logits of the training images are whitened once."""
    ask_background(tiny_vlm, dead_leaves(9), n_words=20).save(tmp_path / "m.background")
    task = few_shot(load_dataset(f"folder:{image_folder}"), shots=1, seed=1)
    settings = CraftConfig(background=str(tmp_path / "m.background"), anchors=12)
    tuned = tune(tiny_vlm, task, method="anchors", budget=9, config=settings)
    logits = tuned.adapter.predict(tiny_vlm, task.train.images)
    assert tuned.train_accuracy == (logits.argmax(axis=1) == task.train.labels).mean() == 1


@pytest.mark.parametrize("shots", [1, 4])
def test_a_background_shows_which_small_differences_matter(shots: int) -> None:
    """Classes differ where logits hardly vary, which a few shots cannot tell from chance."""
    rng = np.random.default_rng(1)
    words = tuple(f"w{number}" for number in range(40))
    texts = rng.standard_normal((12, 40)) * np.geomspace(1, 0.03, 12)[:, None]
    of_anything = Background(
        "m", 900, words, np.cov(rng.standard_normal((900, 12)) @ texts, rowvar=False)
    )
    means = 2 * rng.standard_normal((6, 12))
    labels = np.repeat(np.arange(6), shots)
    new = np.repeat(np.arange(6), 200)

    def ask(labels: np.ndarray) -> np.ndarray:
        features = means[labels] + rng.standard_normal((len(labels), 12))
        return (features @ texts).astype(np.float32)

    train, test = ask(labels), ask(new)
    correct = {}
    for known in (None, of_anything):
        fitter = fitter_of(labels, words, train, known)
        zeros = np.zeros((len(labels), 6), np.float32)
        solution = fitter.solution("a {}", fitter.fit(zeros))
        refined = solution.refine(np.zeros((len(new), 6), np.float32), test)
        correct[known is None] = (refined.argmax(axis=1) == new).mean()
    assert correct[False] > correct[True] + 0.05


def test_a_file_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path, known = tmp_path / "m.background", background()
    known.save(str(path))
    read = BackgroundFile(path).load()
    assert (read.model, read.images, read.words) == ("craft-mini", 50, WORDS)
    np.testing.assert_allclose(read.covariance, known.covariance, rtol=1e-5)
    mend = "free disk space or make the folder writable, then rerun the same command"
    with pytest.raises(CraftZooError, match=rf"no/m\.background cannot be written \(.*\): {mend}"):
        known.save(tmp_path / "no" / "m.background")


def other(**changes: object) -> Callable[[dict[str, object]], str]:
    return lambda values: json.dumps(values | changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other(images=51), "does not match its checksum"),
        (other(words=["a"]), "words list should have at least 2 items"),
        (other(format="craft-zoo adapter 3"), "format should be 'craft-zoo background 1'"),
        (lambda _: "[]", "it is no JSON object"),
        (lambda _: "no", "Expecting value"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, damage: Callable[[dict[str, object]], str], message: str
) -> None:
    path = tmp_path / "m.background"
    background().save(path)
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(CraftZooError, match=r"m\.background is no background") as error:
        BackgroundFile(str(path)).load()
    assert message in str(error.value)
    assert "make one with craft-zoo background" in str(error.value)


def test_a_setting_names_the_content_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.background"
    background().save(path)
    first = CraftConfig(background=str(path))
    assert first == CraftConfig(background=first.background)
    copied = tmp_path / "copy"
    copied.write_bytes(path.read_bytes())
    assert not BackgroundFile(copied) != BackgroundFile(path)  # noqa: SIM202
    assert first == CraftConfig(background=path)  # type: ignore[arg-type]
    assert CraftConfig() == CraftConfig(background=None)  # type: ignore[arg-type]
    assert readers_of("background") == ["anchors", "craft-anchors"]
    background(1).save(path)
    assert CraftConfig(background=str(path)) != first
    with pytest.raises(CraftZooError, match="has changed since this run was planned"):
        BackgroundFile(first.background).load()
    with pytest.raises(CraftZooError, match="leave out background or anchor_bank=spread"):
        replace(first, anchor_bank="spread")


def test_a_run_is_the_same_with_a_moved_background(tmp_path: Path) -> None:
    first, other = tmp_path / "m.background", tmp_path / "other" / "n.background"
    background().save(first)
    other.parent.mkdir()

    def run() -> RunSpec:
        path = first if first.exists() else other
        config = CraftConfig(background=str(path), anchors=4)
        variants = combine(["anchors"], [], config)
        given = {"shots": [1], "seeds": [1], "budgets": [9]}
        return cross("craft-mini", [DatasetSpec("digits")], variants, **given)[0]

    before = run()
    first.rename(other)
    assert run() == before
    assert hash(run()) == hash(before)
    assert run().identity == before.identity
    stored = RunSpec.from_json(json.loads(json.dumps(before.to_json())))
    assert stored == before
    assert stored.identity == before.identity
    background(1).save(other)
    assert run() != before
    assert run().identity != before.identity


@pytest.mark.parametrize("name", ["photos #2/m.background", "m#1", "#", "m#0123456789"])
def test_a_path_may_contain_the_sign_before_the_hash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    background().save(path)
    first = BackgroundFile(str(path))
    assert first.path == BackgroundFile(first).path == str(path)
    assert first.load().words == WORDS
    background(1).save(path)
    with pytest.raises(CraftZooError, match="has changed since this run was planned"):
        first.content()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match=r"no\.background cannot be read as a background"):
        BackgroundFile(str(tmp_path / "no.background")).load()


def test_the_model_is_asked_once_about_each_image(tiny_vlm: OpenCLIP) -> None:
    found = ask_background(tiny_vlm, dead_leaves(4), n_words=12)
    assert (found.model, found.images, len(set(found.words))) == (tiny_vlm.name, 4, 12)
    assert np.linalg.matrix_rank(found.covariance, tol=1e-9) == 3  # of 4 images less their mean
    np.testing.assert_allclose(found.covariance.sum(axis=0), 0, atol=1e-6)
    for count in (1, 99_999):
        with pytest.raises(CraftZooError, match=rf"2 to 1,095 words, not {count:,}: change"):
            ask_background(tiny_vlm, dead_leaves(2), n_words=count)
    with pytest.raises(CraftZooError, match="n_words must be a whole number"):
        ask_background(tiny_vlm, dead_leaves(2), n_words=2.5)  # type: ignore[arg-type]
    with pytest.raises(CraftZooError, match="at least two images"):
        ask_background(tiny_vlm, dead_leaves(1), n_words=2)


@pytest.fixture
def made(tiny_craft_mini: None, image_folder: Path, tmp_path: Path) -> Path:
    """A background of 20 words, from photographs of the folder."""
    out = tmp_path / "mini.background"
    words = ["background", str(image_folder), "--out", str(out), "--count", "9", "--words", "20"]
    assert main(words) == 0
    return out


def test_the_command_says_what_it_costs_and_pays_once(
    made: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made.read_bytes()
    again = ["background", str(image_folder), "--out", str(made), "--count", "9", "--words", "20"]
    assert main(again) == 2
    assert "exists: choose another --out, or replace it with --force" in capsys.readouterr().err
    assert main([*again, "--force", "--dry-run"]) == 0
    assert made.read_bytes() == before
    assert main([*again, "--force", "--price", "1000"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Asking about 20 words on 9 images: 9 predictions, a price of 9.00" in said
    assert shlex.join(["--set", f"background={made}"]) in said
    assert made.read_bytes() == before


def test_a_single_image_is_refused_before_the_model_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ModelSpec, "open", lambda _: pytest.fail("opened"))
    command = ["background", str(tmp_path / "a.png"), "--out", str(tmp_path / "m.background")]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "a background needs at least two images: give more" in said.err
    assert not said.out


def test_broken_images_are_left_out_if_so_asked(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = next((image_folder / "test").rglob("*.png")), tmp_path / "m.background"
    path.write_bytes(b"broken")
    command = ["background", str(image_folder / "test"), "--words", "4", "--out", str(out)]
    assert main(command) == 2
    assert f"image {path} cannot be read" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--skip-bad"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"image {path} cannot be read" in said
    assert "Asking about 4 words on 8 images" in said
    assert BackgroundFile(out).load().images == 8


def test_the_words_are_opened_once(
    tiny_craft_mini: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    independent = OpenCLIP.independent

    def counted(*arguments: Any) -> Any:
        opened.append(arguments)
        return independent(*arguments)

    monkeypatch.setattr(OpenCLIP, "independent", counted)
    command = ["background", "--count", "2", "--words", "4", "--out", str(tmp_path / "m")]
    assert main(command) == 0
    assert len(opened) == 1


def test_the_command_that_it_names_works(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my photos.background"
    assert main(["background", "--out", str(out), "--count", "2", "--words", "20"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    _, *named = shlex.split(said.partition("Use it with: ")[2])
    named[named.index("DATASET")] = f"folder:{image_folder}"
    assert main([*named, "--out", str(tmp_path / "a.adapter"), "--shots", "1"]) == 0
    assert "16 anchors" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["anchors", "craft-anchors"])
def test_anchors_are_drawn_from_the_words_of_the_background(
    made: Path, method: str, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.adapter"
    tune = ["tune", f"folder:{image_folder}", "--out", str(out), "--shots", "2", "--budget", "9"]
    tune += ["--method", method, "--estimate", "none", "--set", f"background={made}"]
    assert main([*tune, "--set", "anchors=17"]) == 0
    said = capsys.readouterr().out
    assert ("7 queries" if method == "anchors" else "9 queries") in said
    anchors = Adapter.load(out).solution.anchors
    assert anchors is not None
    assert len(anchors) == 17
    assert set(anchors.texts) <= set(BackgroundFile(str(made)).load().words)
    assert main([*tune, "--force"]) == 2
    assert "anchors were asked for and there are 20 words" in capsys.readouterr().err
    other_model = tmp_path / "other.background"
    replace(BackgroundFile(str(made)).load(), model="ViT-B-32").save(other_model)
    tune[tune.index(f"background={made}")] = f"background={other_model}"
    assert main([*tune, "--force", "--set", "anchors=17"]) == 2
    assert "is the background of ViT-B-32: make one of craft-mini" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        (("https://a", {"fingerprint": "1"}), ("https://b", {"fingerprint": "1"}), ""),
        (("https://a", {}), ("https://a", {"fingerprint": "1"}), ""),
        (("https://a", {}), ("https://b", {"fingerprint": "1"}), "is the background of https://a"),
        (("https://a", {"fingerprint": "1"}), ("https://a", {"fingerprint": "2"}), "another model"),
        (("https://a", {"fingerprint": "1"}), ("https://b", {"fingerprint": "2"}), "another model"),
        (("m@w", {"files": "1"}), ("m@w", {"files": "2"}), "another model than when FILE was made"),
    ],
)
def test_a_background_is_of_weights_and_not_of_an_address(
    tiny_vlm: OpenCLIP,
    then: tuple[str, dict[str, str]],
    now: tuple[str, dict[str, str]],
    message: str,
) -> None:
    vlm = copy.copy(tiny_vlm)
    vlm.name = now[0]
    vlm.identity = lambda: now[1]  # type: ignore[method-assign]
    known = replace(background(), model=then[0], described=then[1])
    with pytest.raises(CraftZooError, match=message) if message else nullcontext():
        known.check_model(vlm, "FILE")
