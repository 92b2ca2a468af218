"""OpenAI's decisions as a model, by the official client and a server that injects faults."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import craft_zoo as cz
from craft_zoo.anchors import Anchors
from craft_zoo.benchmarks import Bench, RunStore, combine, cross, estimate_costs
from craft_zoo.blackbox import CostLimit, Journal, Price, ReplayVLM
from craft_zoo.client import Retrying
from craft_zoo.client.decisions import Decisions
from craft_zoo.client.question_boxes import described, split_template
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, Task
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError, CraftZooWarning, RefusedError
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.transductive import TransductiveClassifier
from craft_zoo.solution import Solution

pytest.importorskip("openai")

NAMES = ("red square", "green field", "blue sky")
QUICK = Retrying(first=0.01, longest=0.02, sleep=lambda _: None)


@pytest.fixture
def service(paid_server: Any) -> Any:
    return paid_server


def connect(service: Any, **given: Any) -> QuestionVLM:
    return QuestionVLM(Decisions("m", f"{service.url}/v1", key="k"), retrying=QUICK, **given)


def test_a_prompt_is_a_question_with_an_option_for_each_class(
    service: Any, small_task: Task
) -> None:
    vlm = connect(service)
    images = vlm.images(small_task.train.images[:2])
    box = vlm.classifier(NAMES)
    prompts = ["a photo of a {}.", "Which is it? a tiny {}.", tuple(f"{n} {{}}" for n in "abc")]
    answers = list(box.logits(prompts, images))
    assert [a.shape for a in answers] == [(2, 3)] * 3
    assert len(service.bodies) == 2  # a request an image
    plain, asked, each = service.bodies[0]["questions"]
    assert plain == {
        "type": "choice",
        "instructions": "Which of these does the image show?",
        "choices": [{"value": name} for name in NAMES],
    }
    assert asked["instructions"] == "Which is it?"
    assert asked["choices"][1] == {"value": "green field", "description": "a tiny green field."}
    assert each["choices"][2] == {"value": "blue sky", "description": "c blue sky"}
    np.testing.assert_allclose(np.exp(answers[0]).sum(axis=1), 1, atol=1e-3)
    assert service.headers[0]["Authorization"] == "Bearer k"


def test_templates_are_split_at_the_question() -> None:
    assert split_template("Which? Really? a {}.") == ("Which? Really?", "a {}.")
    assert split_template("a {}?")[1] == "a {}?"
    assert described("Which? {}", "cat") == ""
    assert described("a photo of a {}.", "cat") == ""
    assert described("an old photo of a {}.", "cat") == "an old photo of a cat."


def test_fewer_than_one_permutation_is_refused(service: Any) -> None:
    with pytest.raises(CraftZooError, match=r"permutations of .* must be at least 1, not 0"):
        connect(service, permutations=0)


def test_permutations_are_averaged(service: Any, small_task: Task) -> None:
    """With a service that prefers the first option, as language models do."""

    def prefer_first(answer: dict[str, Any]) -> dict[str, Any]:
        for one in answer["answers"]:
            listed = one["probabilities"][::-1]
            for place, option in enumerate(listed):
                option["probability"] = [0.5, 0.3, 0.2][place]
        return answer

    service.alter = prefer_first
    vlm = connect(service, permutations=3)
    image = vlm.images(small_task.train.images[:1])
    assert len(service.bodies) == 0
    [row] = vlm.classifier(NAMES).score("a {}", image)
    assert len(service.bodies) == 1
    np.testing.assert_allclose(np.exp(row), [1 / 3] * 3, rtol=1e-6)


def test_more_classes_than_options_are_asked_in_blocks(service: Any, small_task: Task) -> None:
    service.decimals = 12
    names = [f"thing {place}" for place in range(10)]
    vlm = connect(service)
    images = vlm.images(small_task.train.images[:3])
    whole = vlm.classifier(names).score("a {}", images)
    few = connect(service)
    few.service.limits = type(few.service.limits)(questions=2, options=5)
    blocks = few.classifier(names).score("a {}", few.images(small_task.train.images[:3]))
    sizes = {len(q["choices"]) for body in service.bodies[3:] for q in body["questions"]}
    assert sizes == {5, 3}
    difference = blocks - whole  # the same but for a constant an image
    np.testing.assert_allclose(difference - difference[:, :1], 0, atol=1e-4)
    assert few.billed.predictions == 3
    with pytest.raises(CraftZooError, match="the class name 'none of these' occurs twice"):
        few.classifier(["none of these", *names])


def test_zeros_are_half_a_unit_of_the_last_decimal(service: Any, small_task: Task) -> None:
    service.decimals = 3
    vlm = connect(service)
    images = vlm.images(small_task.train.images)
    logits = vlm.classifier([f"word {n}" for n in range(200)]).score("a {}", images)
    assert logits.min() == pytest.approx(np.log(0.0005))
    odds = vlm.independent([f"word {n}" for n in range(200)]).score("a {}", images)
    assert np.abs(odds).max() < np.log(1 / 0.0005) + 1e-6


def test_an_image_without_decimals_is_floored_as_the_others(
    service: Any, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = cycle([[1.0, 0.0, 0.0], [0.1234, 0.8766, 0.0]])
    monkeypatch.setattr(service, "_probabilities", lambda image, texts: next(answers))
    vlm = connect(service)
    logits = vlm.classifier(["a", "b", "c"]).score("a {}", vlm.images(small_task.train.images))
    np.testing.assert_allclose(np.exp(logits.min(axis=1)), 0.00005, rtol=1e-4)


def test_anchors_are_statements(service: Any, small_task: Task) -> None:
    vlm = connect(service)
    images = vlm.images(small_task.train.images[:1])
    vlm.independent(("water", "wood")).score("a photo of a {}.", images)
    assert service.bodies[0]["questions"] == [
        {"type": "predicate", "instructions": "The image shows water"},
        {"type": "predicate", "instructions": "The image shows wood"},
    ]


@pytest.mark.parametrize("faults", [["429"], ["503", "500"], ["cut"], ["html"], ["408", "cut"]])
def test_faults_change_nothing(service: Any, small_task: Task, faults: list[str]) -> None:
    vlm = connect(service, concurrency=2)
    expected = vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:4]))
    again = connect(service, concurrency=2)
    service.faults = list(faults)
    answer = again.classifier(NAMES).score("a {}", again.images(small_task.train.images[:4]))
    np.testing.assert_array_equal(answer, expected)
    assert len(service.bodies) == 8
    assert again.billed.predictions == 4
    # What may have been billed twice counts twice towards the limit.
    sure = not {"cut", "html", "408"} & set(faults)
    assert (vlm.billed.input_tokens == again.billed.input_tokens) is sure


def test_the_bill_is_the_sum_of_usage(service: Any, small_task: Task) -> None:
    vlm = connect(service)
    cz.tune(vlm, small_task, method="craft-hard", budget=10)
    assert vlm.billed.input_tokens == service.tokens
    assert vlm.billed.requests == vlm.billed.images == len(service.bodies)


def test_refusals_are_no_answer(service: Any, small_task: Task) -> None:
    def refuse(answer: dict[str, Any]) -> dict[str, Any]:
        if len(service.bodies) == 0:
            answer["answers"] = [{"type": "refusal", "name": None}]
        return answer

    service.alter = refuse
    vlm = connect(service, concurrency=1)
    logits = vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:3]))
    assert vlm.refused == 1
    np.testing.assert_array_equal(logits[0], 0)
    service.alter = lambda answer: answer | {"answers": [{"type": "refusal"}]}
    with pytest.raises(CraftZooError, match="refused to answer all"):
        vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:2]))


def test_an_image_that_is_refused_has_no_class(service: Any, small_task: Task) -> None:
    """A refiner's bias made it one with 97 %."""
    vlm, images = connect(service, concurrency=1), small_task.test.images[:3]
    box, bias = vlm.classifier(NAMES), np.array([5, 0, 0], np.float32)
    anchors = Anchors(("sand", "wood"), ["{}"])
    means = TransductiveClassifier(np.eye(3, 2, dtype=np.float32), np.ones(3), np.zeros(3))
    solutions = {
        False: Solution("a {}", ConvexRefiner(np.eye(3, dtype=np.float32), bias)),
        True: Solution(
            "a {}", ConvexRefiner(np.ones((5, 3), np.float32), bias), anchors, None, means
        ),
    }

    def refuse(every: int) -> None:  # with the first image, or all
        asked = count()

        def answer(right: dict[str, Any]) -> dict[str, Any]:
            refused = [{"type": "refusal"}] * len(right["answers"])
            return right if next(asked) % every else right | {"answers": refused}

        service.alter = answer

    for transductive, solution in solutions.items():
        adapter = cz.Adapter.of(solution, vlm, box)
        refuse(every=3)
        found = adapter.predict(vlm, images, transductive=transductive)
        np.testing.assert_allclose(found[0], 1 / 3, rtol=1e-6)
        assert np.ptp(found[1:], axis=1).min() > 0.1
        refuse(every=1)
        served = DeployedAdapter(adapter, vlm).predict(vlm.images(images[:2]))
        np.testing.assert_allclose(served, 1 / 3, rtol=1e-6)
        with pytest.raises(RefusedError, match="refused to answer all"):
            adapter.predict(vlm, images)


class Died(BaseException):
    """Simulates that the process is killed."""


@pytest.mark.parametrize("after", [1, 3, 5, 9, 14])
def test_a_killed_run_asks_nothing_again(
    service: Any, small_task: Task, tmp_path: Path, after: int
) -> None:
    def run() -> tuple[np.ndarray, int]:
        with Journal(tmp_path / "journal") as journal:
            model = connect(service, concurrency=1)
            if mortal:
                send, left = model.service.send, iter(range(after))

                def dying(*arguments: Any) -> Any:
                    if next(left, None) is None:
                        raise Died
                    return send(*arguments)

                model.service.send = dying  # type: ignore[method-assign]
            vlm = ReplayVLM(model, journal)
            images = vlm.images(small_task.train.images[:5])
            box = vlm.classifier(NAMES)
            answers = [box.score(prompt, images) for prompt in ("a {}", "b {}", "c {}")]
            return np.stack(answers), vlm.billed.input_tokens

    mortal = True
    with pytest.raises(Died):
        run()
    assert len(service.bodies) == after
    mortal = False
    answers, tokens = run()
    assert len(service.bodies) == len(set(service.keys)) == 15
    assert tokens == service.tokens
    again, tokens = run()  # all of it is in the journal
    np.testing.assert_array_equal(again, answers)
    assert len(service.bodies) == 15
    assert tokens == service.tokens


@pytest.mark.parametrize(
    ("faults", "complaint"),
    [
        (["401"], "refused the key.*check OPENAI_API_KEY"),
        (["404"], "does not know the model.*check model"),
        (["422"], "rejected the request"),
        (["500"] * 9, "gives no usable answer"),
    ],
)
def test_what_cannot_be_mended_is_said(
    service: Any, small_task: Task, faults: list[str], complaint: str
) -> None:
    vlm = connect(service, concurrency=1)
    service.faults = list(faults)
    with pytest.raises(CraftZooError, match=complaint):
        vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:1]))


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "choice", "probabilities": []},
        {"type": "choice", "probabilities": [{"value": "x", "probability": 1}] * 3},
        {"type": "predicate", "probability": 0.5},
        {"type": "choice", "probabilities": [{"value": n, "probability": 7} for n in NAMES]},
        {},
    ],
)
def test_answers_to_other_questions_are_refused(
    service: Any, small_task: Task, answer: dict[str, Any]
) -> None:
    service.alter = lambda whole: whole | {"answers": [answer]}
    vlm = connect(service, concurrency=1)
    with pytest.raises(CraftZooError, match="gives no usable answer"):
        vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:1]))


def test_limits_of_money_stop_before_they_are_passed(service: Any, small_task: Task) -> None:
    price = cz.blackbox.Price(input_tokens=1e-3)
    vlm = cz.load_vlm(service.name("openai"), price=price, max_cost=0.3)
    images = vlm.images(small_task.train.images)
    box = vlm.classifier(NAMES)
    prompts = (box.score(f"a {{}} {number}", images) for number in range(100))
    with pytest.raises(CraftZooError, match=r"would cost .* exceed the limit of 0\.3"):
        list(prompts)
    assert 0.1 < price.cost(vlm.billed) <= 0.3


def test_a_missing_key_and_a_large_image_are_said(
    monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CraftZooError, match="needs a key: set OPENAI_API_KEY"):
        cz.load_vlm("openai:gpt-6-luna")
    with pytest.raises(CraftZooError, match="incomplete: write openai:MODEL@https"):
        cz.load_vlm("openai:")
    vlm = connect(service)
    vlm.service.limits = type(vlm.service.limits)(questions=2, options=5, image_bytes=10)
    with pytest.raises(CraftZooError, match=r"image 0 has .* bytes, and openai:m@.* takes 10"):
        vlm.images([np.zeros((8, 8, 3), np.uint8)])


def test_a_file_describes_the_classes(
    service: Any, small_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    file = tmp_path / "descriptions.txt"
    file.write_text("red square\tfour equal red sides\nblue sky\tnothing but blue\n")
    vlm = cz.load_vlm(service.name("openai"), options={"descriptions": file})
    with pytest.warns(CraftZooWarning, match="^1 of 3 classes have no .* such as 'green field'"):
        box = vlm.classifier(NAMES)
    box.score("a tiny {}.", vlm.images(small_task.train.images[:1]))
    assert [c.get("description") for c in service.bodies[0]["questions"][0]["choices"]] == [
        "four equal red sides a tiny red square.",
        "a tiny green field.",
        "nothing but blue a tiny blue sky.",
    ]


def test_a_search_in_words_may_change_the_question(service: Any, small_task: Task) -> None:
    """Where all classes share a prompt; with prompts for each class they share one question."""
    for context, several in (("unified", True), ("class-specific", False)):
        service.answered.clear()
        config = cz.CraftConfig(context=context)
        cz.tune(connect(service), small_task, method="hard", budget=20, config=config)
        asked = {q["instructions"] for body in service.bodies for q in body["questions"]}
        assert (len(asked) > 1) is several


@pytest.mark.parametrize("method", ["zero-shot", "refine", "anchors", "hard"])
def test_a_dry_run_knows_the_requests_of_a_bench(service: Any, tmp_path: Path, method: str) -> None:
    variants = combine([method], ["hill-climb"], CraftConfig())
    grid = {"shots": [1], "seeds": [1, 2], "budgets": [12], "measured_on": "val"}
    runs = cross("m", [DatasetSpec("digits@base")], variants, **grid)
    expected = estimate_costs(runs, service=connect(service))[["requests", "images"]].sum()
    assert not service.bodies
    vlm = connect(service)
    Bench(vlm, RunStore(tmp_path)).run(runs)
    assert (*expected,) == (vlm.billed.requests, vlm.billed.images) == (len(service.bodies),) * 2


@pytest.mark.parametrize("method", ["refine", "anchors", "hard"])
def test_a_bench_records_what_its_runs_were_billed(
    service: Any, tmp_path: Path, method: str
) -> None:
    """All of it is of search and refiner or of evaluation, also when a run was interrupted."""
    price = Price(requests=0.5, input_tokens=0.001, output_tokens=0.002)
    variants = combine([method], ["hill-climb"], CraftConfig())
    grid = {"shots": [1], "seeds": [1], "budgets": [12], "measured_on": "val"}
    [run] = cross("m", [DatasetSpec("digits@base")], variants, **grid)

    def bench(folder: str) -> tuple[Bench, QuestionVLM]:
        vlm = connect(service, cost_limit=CostLimit(price=price), concurrency=1)
        return Bench(vlm, RunStore(tmp_path / folder)), vlm

    whole, vlm = bench("whole")
    [points] = whole.run([run]).values()
    asked, tokens = len(service.bodies), service.tokens
    end = points[-1]
    assert end.cost + end.evaluation_cost == pytest.approx(price.cost(vlm.billed))
    assert end.cost == pytest.approx(price.cost(end.usage))
    assert 0 < end.requests < asked
    assert 0 < end.input_tokens < tokens
    # Every request is about one image, of which five are for training.
    assert end.requests == end.images
    assert end.requests % 5 == 0
    costs = [point.cost for point in points]
    assert costs == sorted(costs)

    service.faults = [*(None,) * 7, "401"]
    with pytest.raises(CraftZooError):
        bench("interrupted")[0].run([run])
    [again] = bench("interrupted")[0].run([run]).values()
    for before, now in zip(points, again, strict=True):
        assert replace(now, seconds=before.seconds) == before
