"""What paid services have in common: faults, bills, estimates, messages."""

from __future__ import annotations

import json
import re
import runpy
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import craft_zoo as cz
from craft_zoo.anchors.background import Background, background_words
from craft_zoo.benchmarks import Bench, RunStore, combine, cross, estimate_costs
from craft_zoo.blackbox import Asked, CostLimit, Journal, Price, ReplayVLM, Usage, WrappedVLM
from craft_zoo.cli.main import main
from craft_zoo.client import Retrying
from craft_zoo.client.paid import PaidVLM
from craft_zoo.client.token_rules import image_rule
from craft_zoo.data import DatasetSpec, Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import read_settings

pytest.importorskip("openai")

HELPER = runpy.run_path(str(Path(__file__).parent / "paid_server.py"))
PROTOCOLS = list(HELPER["MODELS"])
QUESTIONS = ["openai", "systemone", "chat"]  # the others return vectors
KEYS = {"systemone": "SYSTEMONE_API_KEY", "cohere": "CO_API_KEY", "voyage": "VOYAGE_API_KEY"}
NAMES = ("red square", "green field", "blue sky")
PROMPTS = ("a {}", "an old {}", "Which is it? a {}")

Connect = Callable[..., PaidVLM]


@pytest.fixture
def server(paid_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for variable in ("OPENAI_API_KEY", *KEYS.values()):
        monkeypatch.setenv(variable, "k")
    return paid_server


@pytest.fixture
def slept() -> list[float]:
    """Seconds of waits, which are skipped."""
    return []


@pytest.fixture
def connect(server: Any, slept: list[float]) -> Connect:
    """Opens a model of the server, which answers one request at a time and batches of two."""

    def connected(protocol: str, **options: Any) -> PaidVLM:
        options = {"concurrency": 1, **({} if protocol in QUESTIONS else {"batch": 2}), **options}
        vlm = cz.load_vlm(server.name(protocol), options=options)
        assert isinstance(vlm, PaidVLM)
        vlm._retrying = Retrying(first=0.01, longest=0.02, sleep=slept.append)
        return vlm

    return connected


def ask(vlm: Any, task: Task) -> np.ndarray:
    images = vlm.images(task.train.images[:4])
    box = vlm.classifier(NAMES)
    return np.stack([box.score(prompt, images) for prompt in PROMPTS])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["429", "408", "503", "500", "cut", "html"])
def test_faults_change_nothing_and_nothing_answered_is_asked_again(
    server: Any, connect: Connect, slept: list[float], small_task: Task, protocol: str, fault: str
) -> None:
    expected = ask(connect(protocol), small_task)
    asked, tokens = Counter(server.answered), server.tokens
    server.answered.clear()
    server.keys.clear()
    server.faults, server.after, server.tokens = [None, fault, None, fault], 7, 0
    vlm = connect(protocol)
    np.testing.assert_array_equal(ask(vlm, small_task), expected)
    assert Counter(server.answered) == asked
    assert len(set(server.keys)) == len(server.keys) == len(server.answered)
    assert server.tokens == tokens
    if fault.isdigit():
        assert [7 <= each < 8 for each in slept] == [True, True]
    if fault in ("429", "503", "500"):
        assert vlm.billed.input_tokens == tokens
        assert vlm.billed.requests == len(server.answered)
    else:  # the answer may have been billed, and counts again
        assert vlm.billed.input_tokens > tokens
        assert vlm.billed.requests == len(server.answered) + 2


@pytest.mark.parametrize("protocol", QUESTIONS)
def test_a_refused_question_is_paid_once_and_undecided(
    server: Any, connect: Connect, small_task: Task, protocol: str
) -> None:
    expected = ask(connect(protocol), small_task)
    server.tokens, server.faults = 0, [None, "refuse"]
    vlm: Any = connect(protocol)
    answer = ask(vlm, small_task)
    np.testing.assert_array_equal(answer[0, 1], 0)
    answer[0, 1] = expected[0, 1]
    np.testing.assert_array_equal(answer, expected)
    assert vlm.refused == 1
    assert vlm.billed.input_tokens == server.tokens


def test_a_wrapper_counts_refused_questions_also_of_a_journal(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path
) -> None:
    server.faults = [None, "refuse"]
    for _ in range(2):  # then all answers are on disk
        vlm = connect("openai")
        wrapper = WrappedVLM(vlm)
        with Journal(tmp_path / "journal") as journal:
            ask(ReplayVLM(wrapper, journal), small_task)
        assert wrapper.refused == vlm.refused == 1


class Died(BaseException):
    """Simulates that the process is killed."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_a_killed_run_pays_nothing_twice(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path, protocol: str, after: int
) -> None:
    expected = ask(connect(protocol), small_task)
    asked, tokens = Counter(server.answered), server.tokens
    server.answered.clear()
    server.tokens = 0

    def run(left: int) -> tuple[np.ndarray, Usage]:
        with Journal(tmp_path / "journal") as journal:
            vlm: Any = connect(protocol)
            send = vlm.service.send

            def dying(*arguments: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Died
                return send(*arguments)

            vlm.service.send = dying
            behind = ReplayVLM(vlm, journal)
            return ask(behind, small_task), behind.billed

    with pytest.raises(Died):
        run(after)
    assert len(server.answered) == after
    answers, billed = run(10**9)
    np.testing.assert_array_equal(answers, expected)
    assert Counter(server.answered) == asked
    assert (billed.input_tokens, billed.requests) == (tokens, len(server.answered))
    again, same = run(0)  # all of it is on disk
    np.testing.assert_array_equal(again, expected)
    assert same == billed


@pytest.mark.parametrize("protocol", ["openai", "chat", "embeddings"])
def test_what_is_in_flight_when_a_limit_is_reached_is_paid_once(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path, protocol: str
) -> None:
    batch = {"batch": 1} if protocol == "embeddings" else {}

    def run(most: float | None) -> np.ndarray:
        vlm = connect(protocol, concurrency=4, **batch)
        vlm.cost_limit = CostLimit(price=Price(requests=1), max_cost=most)
        with Journal(tmp_path / "journal") as journal:
            return ask(ReplayVLM(vlm, journal), small_task)

    server.on_request = lambda: time.sleep(0.05)
    with pytest.raises(CraftZooError, match=r"exceed the limit of 3 \(3 spent\)"):
        run(3)
    assert len(server.answered) == 3  # an exit of the program would lose nothing
    server.on_request = lambda: None
    run(None)
    assert max(Counter(server.answered).values()) == 1


@pytest.mark.parametrize(
    ("faults", "counted"),
    [
        (["402"], 0),  # which ends at once
        (["500"] * 3, 0),
        (["503", "401"], 0),
        (["cut", "402"], 1),  # an answer that did not arrive may be billed
        (["402", None, "cut", "503", "402", None], 3),
    ],
)
def test_what_a_service_did_not_answer_does_not_count_towards_a_limit(
    server: Any, connect: Connect, small_task: Task, faults: list[str | None], counted: int
) -> None:
    """A served adapter reached its limit by requests that its service had refused."""
    vlm = connect("openai")
    vlm.cost_limit = CostLimit(price=Price(requests=1), max_cost=10)
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:1])
    server.faults = list(faults)
    while server.faults:
        with suppress(CraftZooError):
            box.score("a {}", images)
    assert vlm.billed.requests == vlm.cost_limit.predictions == counted


def test_predictions_without_vectors_are_none(
    server: Any, connect: Connect, small_task: Task
) -> None:
    vlm = connect("embeddings")
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:4])
    server.faults = [None, "402"]
    with pytest.raises(CraftZooError, match="no quota left"):
        box.score("a {}", images)
    assert (vlm.billed.requests, vlm.cost_limit.predictions) == (1, 0)
    box.score("a {}", images)
    assert vlm.cost_limit.predictions == 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes of eight images of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for colour, name in zip(np.eye(3), NAMES, strict=True):
        (folder / name).mkdir()
        for number in range(8):
            size = rng.integers(300, 900, 2)
            pixels = (200 * colour + 40 * rng.random(3)).astype(np.uint8)
            Image.fromarray(np.broadcast_to(pixels, (*size, 3)).copy()).save(
                folder / name / f"{number}.png"
            )
    return folder


@pytest.mark.parametrize("method", ["anchors", "anchors with a background", "craft-hard"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dry_run_knows_the_tokens_to_15_percent(
    server: Any,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    protocol: str,
    method: str,
) -> None:
    method, _, background = method.partition(" with a ")
    command = ["tune", f"folder:{photos}", "--shots", "1", "--method", method, "--budget", "6"]
    command += ["--model", server.name(protocol), "--price", "input_tokens=1"]
    command += ["--set", "anchors=6"] if method == "anchors" else []
    if background:
        words = background_words(9)
        Background(server.name(protocol), 9, words, np.eye(9)).save(tmp_path / "background")
        command += ["--set", f"background={tmp_path / 'background'}"]
    command += ["--estimate", "none", "--out", str(tmp_path / "out.adapter")]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert not server.answered
    [expected] = re.findall(r"([\d,]+) input tokens", said)
    assert re.search(r"[\d,]+ requests", said)
    assert re.search(r"a price of (less than )?[\d.]+", said)
    assert main(command) == 0
    assert int(expected.replace(",", "")) / server.tokens == pytest.approx(1, abs=0.15)
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"{server.tokens:,} input tokens" in " ".join(last.split())
    assert last.endswith(f"out.adapter IMAGES… --model {server.name(protocol)}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dry_run_of_evaluate_counts_the_texts_of_the_adapters_prompt(
    server: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    """A service of vectors is sent them besides those of the initial prompt."""
    model, out = ["--model", server.name(protocol)], str(tmp_path / "out.adapter")
    start = ["--method", "templates", "--budget", "1", "--set", "template=my big old photo of a"]
    command = ["tune", f"folder:{photos}", "--shots", "1", *start, "--estimate", "none"]
    assert main([*command, *model, "--out", out]) == 0
    adapter = cz.Adapter.load(out)
    prompt = "a photo of many {}, quite far away."
    replace(adapter, solution=replace(adapter.solution, prompt=prompt)).save(out)
    capsys.readouterr()
    evaluate = ["evaluate", out, f"folder:{photos}", *model]
    assert main([*evaluate, "--dry-run"]) == 0
    said = capsys.readouterr().out
    server.answered.clear()
    server.tokens = 0
    assert main(evaluate) == 0
    requests, tokens = (
        int(re.findall(rf"([\d,]+) {unit}", said)[0].replace(",", ""))
        for unit in ("request", "input token")
    )
    assert requests == len(server.answered)
    assert tokens / server.tokens == pytest.approx(1, abs=0.15)


def test_a_dry_run_counts_the_descriptions_of_classes(
    server: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bank.json").write_text(json.dumps({name: [f"a {name}"] for name in NAMES}))
    command = ["tune", f"folder:{photos}", "--shots", "2", "--method", "descriptions"]
    command += ["--set", f"descriptions.file={tmp_path / 'bank.json'}"]
    command += ["--model", server.name("openai"), "--out", str(tmp_path / "out.adapter")]
    assert main(command) == 0
    expected, billed = re.findall(r"([\d,]+) requests", capsys.readouterr().out)
    assert expected == billed == str(len(server.answered))


@pytest.mark.parametrize("learns", [False, True])
def test_a_dry_run_of_a_bench_counts_the_descriptions_of_many_classes(
    server: Any, tmp_path: Path, learns: bool
) -> None:
    """A rehearsal has ten classes; of 15 each has two descriptions."""
    names = [f"kind {number}" for number in range(15)]
    for number, name in enumerate(names):
        (folder := tmp_path / "photos" / name).mkdir(parents=True)
        for image in range(5):
            Image.new("RGB", (8, 8), (number, image, 0)).save(folder / f"{image}.png")
    bank = {name: [f"a {name}", f"an old {name}"] for name in names}
    (tmp_path / "bank.json").write_text(json.dumps(bank))
    values = {"descriptions.file": str(tmp_path / "bank.json"), "descriptions.learns": learns}
    variants = combine(["descriptions"], [], read_settings(values))
    grid = {"shots": [1], "seeds": [1], "budgets": [9], "measured_on": "val"}
    model = server.name("openai")
    runs = cross(model, [DatasetSpec(f"folder:{tmp_path / 'photos'}")], variants, **grid)
    expected = estimate_costs(runs, service=cz.load_vlm(model))[["requests", "input_tokens"]].sum()
    assert not server.answered
    Bench(cz.load_vlm(model), RunStore(tmp_path / "out")).run(runs)
    assert expected["requests"] == len(server.answered)
    assert expected["input_tokens"] / server.tokens == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("bank", ["words", "spread"])
def test_a_dry_run_counts_all_anchors_of_many_classes(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], bank: str
) -> None:
    """With 40 classes, 8 queries suffice for 256 anchors, and 27 for four times as many."""
    for number in range(40):
        (folder := tmp_path / "photos" / f"kind {number}").mkdir(parents=True)
        for image in range(2):
            Image.new("RGB", (8, 8), (number, image, 0)).save(folder / f"{image}.png")

    def tokens(budget: int) -> str:
        command = ["tune", f"folder:{tmp_path / 'photos'}", "--shots", "1", "--method", "anchors"]
        command += ["--set", f"anchor_bank={bank}", "--budget", str(budget), "--estimate", "none"]
        command += ["--model", server.name("openai"), "--dry-run", "--no-canaries"]
        assert main([*command, "--out", str(tmp_path / "out.adapter")]) == 0
        return re.findall(r"([\d,]+) input tokens", capsys.readouterr().out)[0]

    assert tokens(8 if bank == "words" else 27) == tokens(500)


def test_a_dry_run_counts_the_anchors_of_cross_validation(
    server: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folds are one more run, and measuring is another under the initial prompt as well."""

    def tokens(method: str, estimate: str) -> int:
        command = ["tune", f"folder:{photos}", "--shots", "2", "--method", method, "--no-canaries"]
        command += ["--model", server.name("openai"), "--estimate", estimate, "--dry-run"]
        assert main([*command, "--out", str(tmp_path / "out.adapter")]) == 0
        [said] = re.findall(r"([\d,]+) input tokens", capsys.readouterr().out)
        return int(said.replace(",", ""))

    together = 3 * tokens("anchors", "none") + tokens("refine", "none")
    assert tokens("anchors", "cross-validate") == pytest.approx(together, rel=1e-3)


@pytest.mark.parametrize("chosen", ["--set=anchor_bank=spread", "--per-image=2"])
def test_the_cost_has_the_anchors_that_each_fold_chooses(
    server: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: str
) -> None:
    command = ["tune", f"folder:{photos}", "--shots", "2", "--method", "anchors", "--no-canaries"]
    command += ["--set", "anchors=4", chosen, "--set", "discriminant=false"]
    command += ["--model", server.name("chat"), "--out", str(tmp_path / "out.adapter")]
    assert main(command) == 0
    expected, made = re.findall(r"([\d,]+) requests", capsys.readouterr().out)
    assert expected == made == str(len(server.answered))


def test_a_dry_run_refuses_a_method_that_asks_with_contexts(
    server: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", f"folder:{photos}", "--shots", "1", "--method", "craft", "--dry-run"]
    command += ["--model", server.name("openai"), "--out", str(tmp_path / "out.adapter")]
    assert main(command) == 2
    said = " ".join("".join(capsys.readouterr()).split())
    assert "craft: the model takes words only, no contexts: use a method that asks in words" in said
    assert "At most" not in said


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-4o", (1024, 1024), 765),  # examples of OpenAI's documentation
        ("gpt-4o-2024-08-06", (2048, 4096), 1105),
        ("openai/gpt-4.1-mini", (1024, 1024), 1659),
        ("gpt-4.1-nano", (4000, 4000), 3779),
        ("gpt-5-mini-2025-08-07", (64, 64), 7),
        ("gpt-4o-mini", (512, 512), 8500),
        ("gemini-2.0-flash", (384, 384), 258),
        ("gemini-2.0-flash", (960, 540), 516),
        ("gemini-2.5-flash-lite", (384, 384), 258),
        ("gemini-3.5-flash", (384, 384), 1120),
        ("gemini-4-pro", (4032, 3024), 1120),
        ("claude-opus-5-5", (256, 256), 100),
        ("anthropic/claude-haiku-4-5", (1024, 1024), 1369),
        ("bedrock/us.anthropic.claude-opus-4-6-v1:0", (1024, 1024), 1369),
        ("openai/gpt-4o:free", (1024, 1024), 765),
        ("ft:gpt-4o:owner::id", (1024, 1024), 765),
        ("claude-sonnet-5-5", (2560, 1440), 4784),
        ("gpt-6-luna", (256, 256), 77),
        ("gpt-5.5", (1920, 1080), 2448),
        ("voyage-multimodal-3", (1000, 560), 1000),
        ("voyage-multimodal-3.5", (64, 64), 90),
        ("voyage-multimodal-3.5", (4032, 3024), 3572),
    ],
)
def test_images_have_the_tokens_that_owners_document(
    model: str, size: tuple[int, int], tokens: int
) -> None:
    rule = image_rule(model)
    assert rule is not None
    assert rule.of_size(*size) == tokens


def test_details_and_unknown_models() -> None:
    rule = image_rule("gpt-4o")
    assert rule is not None
    assert rule.of_size(2048, 2048, low=True) == 85
    assert image_rule("gpt-5.9") is image_rule("gemini3") is image_rule("m") is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_that_is_too_large_is_a_sentence(
    server: Any, connect: Connect, small_task: Task, protocol: str
) -> None:
    vlm: Any = connect(protocol)
    if protocol in QUESTIONS:
        vlm.service.limits = replace(vlm.service.limits, image_bytes=10)
    else:
        vlm.service.image_bytes = 10
    with pytest.raises(CraftZooError, match=rf"image 0 has .* bytes, and {protocol}:.* takes 10 "):
        vlm.images(small_task.train.images)
    one = "an image is too large for .*: make it smaller$"
    server.faults, server.said = ["413"], "Payload Too Large"
    many = r"\d inputs together are too many for .* \(--model-option batch=…\)$"
    with pytest.raises(CraftZooError, match=one if protocol in QUESTIONS else many):
        ask(connect(protocol), small_task)
    server.faults, server.said = ["400"], "The image you sent is too large."
    with pytest.raises(CraftZooError, match=one):
        ask(connect(protocol), small_task)
    if protocol not in QUESTIONS:
        server.faults, server.said = ["422"], "batch size 3 > maximum allowed batch size 2"
        with pytest.raises(CraftZooError, match=many):
            ask(connect(protocol), small_task)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("400", "Images need a model whose processor handles them."),
        ("400", "Invalid content type. image_url is only supported by certain models."),
        ("400", "facebook/opt-125m is not a multimodal model None"),
        ("404", "No endpoints found that support image input"),
        ("400", "this model does not support image input"),
        ("422", "model-id `x` does not support `image_embed`."),
    ],
)
def test_a_model_that_reads_no_images_is_a_sentence(
    server: Any, connect: Connect, small_task: Task, protocol: str, status: str, said: str
) -> None:
    server.faults, server.said = [status], said
    with pytest.raises(CraftZooError, match=r"reads no images .*: choose a vision-language model$"):
        ask(connect(protocol), small_task)


@pytest.mark.parametrize("protocol", QUESTIONS)
def test_more_options_than_a_service_takes_are_a_sentence_and_then_blocks(
    server: Any, connect: Connect, small_task: Task, protocol: str
) -> None:
    server.faults, server.said = ["422"], "A choice has at most 2 options."
    with pytest.raises(CraftZooError, match=r"at most 2 options .*\(--model-option options=2\)"):
        ask(connect(protocol), small_task)
    assert ask(connect(protocol, options=2), small_task).shape == (3, 4, 3)
    with pytest.raises(CraftZooError, match=r"option options of .* must be at least 2 and at most"):
        connect(protocol, options=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_missing_key_is_a_sentence(
    server: Any,
    connect: Connect,
    small_task: Task,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
) -> None:
    variable = KEYS.get(protocol, "OPENAI_API_KEY")
    server.faults, server.said = ["401"], "Who are you?"
    with pytest.raises(
        CraftZooError, match=rf"refused the key \(Who are you\?\): check {variable}"
    ):
        ask(connect(protocol), small_task)
    monkeypatch.delenv(variable)
    server.faults = ["401"]
    with pytest.raises(CraftZooError, match=rf"refused the key \(Who are you\?\): set {variable}"):
        ask(connect(protocol), small_task)
    if protocol not in ("systemone", "embeddings"):  # the others have an owner's address
        with pytest.raises(CraftZooError, match=rf"needs a key: set {variable}"):
            cz.load_vlm(f"{protocol}:m")


@pytest.mark.parametrize(
    ("protocol", "options", "line"),
    [
        ("openai", {}, r"3 options by probabilities of 4 decimals; \d+ tokens a request of 1 q.*n"),
        (
            "systemone",
            {},
            r"3 options by probabilities of 4 decimals; \d+ tokens a request of 1 .*",
        ),
        (
            "chat",
            {},
            r"3 options by the log-probabilities of the 20 likeliest tokens; \d+ tokens .*",
        ),
        (
            "openai",
            {"permutations": 3},
            r"3 options by probabilities of 4 decimals; their order changes a probability by "
            r"0\.000; \d+ tokens a request of 3 questions",
        ),
        ("openai", {"permutations": 5}, r".*; \d+ tokens a request of 3 questions"),  # all orders
    ],
)
def test_one_line_says_what_a_service_does(
    server: Any,
    connect: Connect,
    small_task: Task,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
    options: dict[str, Any],
    line: str,
) -> None:
    vlm = connect(protocol, **options)
    assert not caplog.messages
    ask(vlm, small_task)
    [message] = caplog.messages
    assert re.fullmatch(rf"{re.escape(vlm.name)} answers {line}", message), message
    assert len(server.answered) == 3 * 4  # no request was made for it


def test_one_line_says_what_is_missing(
    server: Any, connect: Connect, small_task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    server.logprobs = False
    ask(connect("chat"), small_task)
    assert "answers 3 options by 1 label without log-probabilities" in caplog.text
    server.faults = [None, "refuse"]
    vlm = connect("openai")
    vlm.service.limits = type(vlm.service.limits)(questions=1, options=9)  # type: ignore[attr-defined]
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:1])
    list(box.logits(PROMPTS, images))
    assert "refuses 1 of 3 questions" in caplog.text
    for protocol in ("embeddings", "cohere", "voyage"):
        caplog.clear()
        ask(connect(protocol), small_task)
        assert "returns vectors of 8 numbers; " in caplog.text
        assert caplog.text.rstrip().endswith("tokens for 2 images")


@pytest.mark.parametrize("lacking", ["usage", "prompt_tokens"])
@pytest.mark.parametrize("protocol", ["chat", "embeddings"])
def test_without_usage_the_estimate_is_counted(
    server: Any,
    connect: Connect,
    small_task: Task,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
    lacking: str,
) -> None:
    vlm = connect(protocol)
    asked, images = [Asked(tuple(PROMPTS))], small_task.train.images[:4]
    expected = vlm.expected_usage(asked, images, NAMES)
    usage = None if lacking == "usage" else {"prompt_tokens": None, "total_tokens": 5}
    server.alter = lambda answer: answer | {"usage": usage}
    logits = list(vlm.classifier(NAMES).logits(PROMPTS, vlm.images(images)))
    assert vlm.billed == expected
    assert caplog.text.count("does not say its usage") == 1
    server.alter = lambda answer: answer
    other = connect(protocol)
    again = other.classifier(NAMES).logits(PROMPTS, other.images(images))
    np.testing.assert_array_equal(logits, list(again))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_images_are_reduced_before_they_are_sent_and_counted(
    connect: Connect, protocol: str
) -> None:
    images = [np.full((900, 1200, 3), grey, dtype=np.uint8) for grey in range(4)]
    estimates, bills = [], []
    for options in ({}, {"max_side": 160}):
        vlm = connect(protocol, **options)
        assert vlm.answer_options == ",".join(f"{name}=160" for name in options)
        expected = vlm.expected_usage([Asked(("a {}",))], images, NAMES)
        vlm.classifier(NAMES).score("a {}", vlm.images(images))
        estimates.append(expected.input_tokens)
        bills.append(vlm.billed.input_tokens)
    assert bills[1] < bills[0] / 2
    assert estimates[1] < estimates[0] / 2
    with pytest.raises(CraftZooError, match=r"option max_side of .* must be above 0, not 0"):
        connect(protocol, max_side=0)


def test_large_images_are_advised_against_once(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    images = [np.full((3024, 4032, 3), grey, dtype=np.uint8) for grey in range(2)]
    for options in ({}, {"max_side": 512}):
        vlm = connect("openai", **options)
        for _ in range(2):
            vlm.expected_usage([Asked(("a {}", "the {}"))], images, NAMES)
    [message] = caplog.messages
    assert re.search(r"4032 x 3024 pixels takes some 12,\d+ tokens, and 2\d\d with images", message)
    assert "reduced to 512 pixels, with which adapters are to be tuned, too (--model" in message
    assert message.endswith("-option max_side=512)")


def with_tokens(answer: Any, tokens: float) -> Any:
    """The answer with this number in place of all numbers of tokens."""
    if not isinstance(answer, dict):
        return answer
    return {
        key: tokens if key.endswith("_tokens") else with_tokens(value, tokens)
        for key, value in answer.items()
    }


@pytest.mark.parametrize("tokens", [-1, 10**30, float("inf"), float("nan")])
@pytest.mark.parametrize("protocol", ["openai", "systemone", "chat", "embeddings", "voyage"])
def test_an_impossible_bill_is_refused(
    server: Any, connect: Connect, small_task: Task, protocol: str, tokens: float
) -> None:
    server.alter = lambda answer: with_tokens(answer, tokens)
    vlm = connect(protocol)
    with pytest.raises(CraftZooError, match=r"gives no usable answer .*it bills .* tokens"):
        ask(vlm, small_task)
    assert min(vlm.billed.input_tokens, vlm.billed.output_tokens) >= 0
