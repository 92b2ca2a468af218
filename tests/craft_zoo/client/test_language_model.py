"""Prompts that a language model proposes: on the curve, paid once, within limits."""

from __future__ import annotations

import json
import re
import runpy
import signal
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import craft_zoo as cz
from craft_zoo.blackbox import CostLimit, Journal, Price, ReplayVLM, Usage
from craft_zoo.blackbox.templates import as_template
from craft_zoo.cli import main
from craft_zoo.client import RemoteVLM, Retrying
from craft_zoo.client.language_model import LanguageModel, expected_usage
from craft_zoo.craft import Step
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, most_llm_usage, read_settings
from craft_zoo.openclip import OpenCLIP
from craft_zoo.prompts.proposals import class_proposals, proposals
from craft_zoo.protocol.tokens import TokenRule

pytest.importorskip("openai")

BUDGET, START, EACH = 20, 8, 4  # three requests


def proposing() -> Callable[[str], str]:
    """Answers with new prompts only, in every form of a list."""
    number = count(1)

    def propose(asked: str) -> str:
        wanted = int(re.findall(r"Propose (\d+) new", asked)[0])
        marks = ("- ", "* ", "3. ", '- "')
        lines = [f"{mark}a strange photo {next(number)} of a {{}}." for mark in marks]
        return "\n".join(["Here they are:", "", *lines[:wanted]])

    return propose


@pytest.fixture
def server(paid_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    quickly = partial(Retrying, first=0.001, longest=0.001)
    monkeypatch.setattr("craft_zoo.client.paid.Retrying", quickly)
    paid_server.propose = proposing()
    return paid_server


@pytest.fixture(scope="module")
def small_task(small_task: Task) -> Task:
    """Its first five classes, as encoding the texts takes longest."""
    parts = [
        part.take(np.flatnonzero(part.labels < 5)) for part in (small_task.train, small_task.test)
    ]
    return Task(small_task.name, small_task.classnames[:5], *parts)


def settings(server: Any, **others: Any) -> dict[str, Any]:
    own = {"llm": server.name("chat"), "start": START, "proposals": EACH, **others}
    return {f"llm-prompts.{name}": value for name, value in own.items()}


def assignments(server: Any) -> list[str]:
    given = [("--set", f"{name}={value}") for name, value in settings(server).items()]
    return [word for pair in given for word in pair]


def questions(server: Any) -> list[str]:
    """What the language model was asked, in order."""
    asked = [body["messages"][0]["content"] for body in server.bodies if "messages" in body]
    return [each for each in asked if isinstance(each, str)]


def steps_of(vlm: Any, task: Task, server: Any, **own: Any) -> list[Step]:
    problem = Problem.open(
        vlm,
        task.classnames,
        task.train,
        budget=BUDGET,
        seed=1,
        config=read_settings(settings(server, **own)),
    )
    steps = list(get_method("llm-prompts")(problem))
    assert steps[-1].queries == problem.meter.queries
    return steps


def test_the_best_of_all_proposals_is_deployed(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    steps = steps_of(tiny_vlm, small_task, server)
    assert [step.queries for step in steps] == [0, 8, 12, 16, 20]
    assert steps[-1].ended is None
    losses = [step.loss for step in steps[1:]]
    assert losses == sorted(losses, reverse=True)
    box, images = (
        tiny_vlm.classifier(small_task.classnames),
        tiny_vlm.images(small_task.train.images),
    )
    proposed = [f"a strange photo {number} of a {{}}." for number in range(1, 13)]
    logits = list(box.logits(proposed, images))
    rows = np.arange(len(images)), small_task.train.labels
    own = [float(np.mean(np.logaddexp.reduce(each, 1) - each[rows])) for each in logits]
    best = min(own)
    assert steps[-1].loss == pytest.approx(min(best, losses[0]), rel=1e-5)
    if best < losses[0]:
        assert steps[-1].solution.prompt == proposed[int(np.argmin(own))]


def test_it_is_told_of_classes_and_scores_and_of_nothing_else(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    steps = steps_of(tiny_vlm, small_task, server)
    first, _, last = questions(server)
    assert ", ".join(small_task.classnames) in first
    listed = re.findall(r"^accuracy [\d.]+%, loss ([\d.]+): (.*\{\}.*)$", last, re.MULTILINE)
    shown = [float(loss) for loss, _ in listed]
    assert len(listed) == 6
    assert shown == sorted(shown)
    assert shown[0] == pytest.approx(steps[-2].loss, abs=1e-3)
    [body] = [each for each in server.bodies if each["messages"][0]["content"] == last]
    assert set(body) == {"model", "messages", "temperature", "max_tokens"}
    assert (body["model"], body["max_tokens"]) == ("gpt-4o", 1000)


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("- a photo of a {}.", "a photo of a {}."),
        ("  2) `a {class name} at night`  ", "a {} at night"),
        ("- “{}, seen  from above”", "{}, seen from above"),
        ("- a photo", None),
        ("- a {} and a {}", None),
        (f"- {'very ' * 40}old {{}}", None),
        ("- a bell \a and a {}", None),
        ("- ", None),
        *((f"{mark} a {{}}", "a {}") for mark in ("+", "–", "•", "(2)", "10.", "**3.**", "-  **")),
        ("1. **Prompt 1:** a {}", "a {}"),
        ('- "a {}" (it names {} once)', "a {}"),
        ("- **`a {}`** and its texture", "a {}"),
        ("- a {{}} at sea", "a {} at sea"),
        ("- a [CLASS] or <class name>", None),
        ("- a [CLASS]", "a {}"),
    ],
)
def test_a_line_of_a_list_is_a_prompt_or_malformed(line: str, prompt: str | None) -> None:
    assert proposals(f"Some with {{}}:\n{line}\n") in ([prompt], [] if prompt is None else None)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("a {}\na {} at sea", ["a {}", "a {} at sea"]),
        ("Here are prompts with {}:\n\n“a {}”\nGood luck!", ["a {}"]),
        ('["a {}", "a {} at sea"]', ["a {}", "a {} at sea"]),
        ('{"prompts": ["a {}"]}', ["a {}"]),
        ('```json\n[\n  "a {}",\n  "a {}, at sea"\n]\n```', ["a {}", "a {}, at sea"]),
        ("```\n- a {}\n- a {} at sea\n```", ["a {}", "a {} at sea"]),
        ("I cannot propose prompts.", []),
    ],
)
def test_without_a_list_lines_and_quotes_are_prompts(answer: str, found: list[str]) -> None:
    assert proposals(answer) == found


@given(st.lists(st.text('{}a -*1."\x07\u2028é', max_size=12)).map("\n- ".join))
def test_whatever_it_answers_the_model_is_asked_prompts(answer: str) -> None:
    for prompt in proposals(answer):
        assert prompt is None or (as_template(prompt) == prompt and prompt.count("{}") == 1)


def test_malformed_and_known_proposals_are_skipped_and_counted(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    more = proposing()
    long = "- " + "zq" * 78 + " {}"  # more tokens than the model's context holds
    server.propose = lambda asked: (
        f"- a {{}} and a {{}}\n- a photo of a {{}}.\n{long}\n{more(asked)}"
    )
    steps = steps_of(tiny_vlm, small_task, server)
    assert [step.queries for step in steps] == [0, 8, 12, 16, 20]
    assert "9 proposals in 3 answers skipped, as malformed or known" in caplog.text


def test_what_a_served_model_cannot_read_is_skipped(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    """And is not paid for; the same prompts are queried as of the model on this machine."""
    long = "zq" * 78 + " {}"
    server.propose = lambda asked: f"- {long}\n- {{}} at night\n- a photo of {{}} at sea"
    [*_, last] = steps_of(tiny_vlm, small_task, server)
    served = runpy.run_path(str(Path(__file__).parent / "real_server.py"))["RealServer"]
    with served(tiny_vlm, tmp_path) as running:
        remote = RemoteVLM(running.url, api_key=running.key)
        [*_, same] = steps_of(remote, small_task, server)
        assert (same.queries, same.solution.prompt) == (10, last.solution.prompt)
        assert remote.usage().predictions == 10 * len(small_task.train)
        box = remote.classifier(small_task.classnames)
        assert [box.fits(each) for each in (long, "{}", "a {} here")] == [False, True, True]


def test_a_key_of_its_own_is_sent_to_it_alone(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "its own")
    steps_of(tiny_vlm, small_task, server)
    cz.load_vlm(server.name("chat")).images(small_task.train.images[:1])
    assert {each["Authorization"] for each in server.headers} == {"Bearer its own"}
    server.faults = ["401"]
    with pytest.raises(CraftZooError, match=r"check LLM_API_KEY"):
        steps_of(tiny_vlm, small_task, server)


def test_the_estimate_is_somewhat_above_what_is_sent(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    """In tokens of a request; half as many may be sent."""
    server.propose = proposing_for_classes
    given = settings(server, start=4, class_share=0.6)
    usage = most_llm_usage("llm-prompts", read_settings(given), BUDGET, small_task.classnames)
    steps_of(tiny_vlm, small_task, server, start=4, class_share=0.6)
    sent = [TokenRule().request + TokenRule().of_text(each) for each in questions(server)]
    assert 1 < usage.llm_input_tokens / usage.llm_requests / np.mean(sent) < 1.5


def test_it_ends_where_there_is_nothing_new(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    server.propose = lambda asked: "I am sorry."
    steps = steps_of(tiny_vlm, small_task, server)
    assert steps[-1].ended == "the language model had too few new prompts in 3 answers"
    assert (steps[-1].queries, len(questions(server))) == (8, 3)
    numbers = count()
    server.propose = lambda asked: f"- photo {next(numbers)} of a {{}}"  # one, where four are due
    server.answered.clear()
    steps = steps_of(tiny_vlm, small_task, server)
    assert steps[-1].ended == "the language model had too few new prompts in 6 answers"
    assert (steps[-1].queries, len(questions(server))) == (14, 6)


def proposing_for_classes(asked: str) -> str:
    """Prompts for all classes, or for those that are asked about; they depend on the question."""
    names = re.findall(r"^(.+): accuracy", asked, re.MULTILINE)
    lines = proposing_by(asked).splitlines()[:3]
    if "prompts for each of these" not in asked:
        return "\n".join(lines)
    return "\n".join(f"- **{name}**: {line[2:]}" for name in names for line in lines)


def test_each_class_gets_a_prompt_whose_logits_fit_those_of_the_others(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    server.propose = proposing_for_classes
    steps = steps_of(tiny_vlm, small_task, server, start=4, class_share=0.6)
    shared = [step for step in steps if isinstance(step.solution.prompt, str)]
    own = [step for step in steps if isinstance(step.solution.prompt, tuple)]
    assert (shared[-1].queries, own[-1].queries) == (8, BUDGET)
    assert own[-1].loss < shared[-1].loss
    names, labels = small_task.classnames, small_task.train.labels
    images = tiny_vlm.images(small_task.train.images)
    for step in (own[0], own[-1]):
        logits = tiny_vlm.classifier(names).score(step.solution.prompt, images)
        losses = np.logaddexp.reduce(logits, 1) - logits[np.arange(len(labels)), labels]
        assert step.loss == pytest.approx(losses.mean(), rel=1e-4)
        assert step.train_accuracy == (logits.argmax(1) == labels).mean()
    # A round is three proposals for each of four classes, and their combination if it is better.
    rounds = [each for each in questions(server) if "for each of these classes" in each]
    box = tiny_vlm.classifier(names)
    for asked, before, after in zip(rounds[:3], [shared[-1], *own], own[:3], strict=False):
        changed = sorted(map(names.index, re.findall(r"^(.+): accuracy", asked, re.MULTILINE)))
        assert len(changed) == EACH
        mixed, least = box.score(before.solution.prompt, images), before.loss
        for line in proposing_by(asked).splitlines()[:3]:
            column = box.score(line[2:], images)
            for place in changed:
                trial = mixed.copy()
                trial[:, place] = column[:, place]
                losses = np.logaddexp.reduce(trial, 1) - trial[np.arange(len(labels)), labels]
                if losses.mean() < least:
                    mixed, least = trial, losses.mean()
        assert after.loss == pytest.approx(least, rel=1e-4)


def test_it_is_told_which_classes_are_confused(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    server.propose = proposing_for_classes
    steps = steps_of(tiny_vlm, small_task, server, start=4, class_share=0.6, proposals=10)
    best = [step for step in steps if isinstance(step.solution.prompt, str)][-1].solution.prompt
    first = next(each for each in questions(server) if "for each of these classes" in each)
    names, labels = small_task.classnames, small_task.train.labels
    logits = tiny_vlm.classifier(names).score(best, tiny_vlm.images(small_task.train.images))
    lines = re.findall(
        r"^(.+): accuracy ([\d.]+)%(?:, taken for (.+))?: (.*\{\}.*)$", first, re.MULTILINE
    )
    assert sorted(line[0] for line in lines) == sorted(names)
    for name, share, taken, prompt in lines:
        mine = logits[labels == names.index(name)].argmax(1)
        assert float(share) == pytest.approx(100 * (mine == names.index(name)).mean(), abs=0.06)
        assert bool(taken) is (float(share) < 100)
        assert not taken or names.index(taken) in mine
        assert prompt == best


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("- river: a {}, winding", (0, "a {}, winding")),
        ('1. "Sea Lake": "a {class} at dusk"', (1, "a {} at dusk")),
        ("- **river**: a photo", None),
        ("- {}: a river", None),
        ("- pond: a {}", None),
        ("- a river {}", None),
        ("river: a {}", (0, "a {}")),
        ('"sea lake": "a {}",', (1, "a {}")),
    ],
)
def test_a_prompt_of_a_class_names_it(line: str, found: tuple[int, str] | None) -> None:
    assert class_proposals(line, ["river", "sea lake"]) == [found]


@pytest.mark.parametrize(
    "names",
    [
        ["type: a", "type: b"],
        ["type", "type: a"],
        ["rock 'n' roll", "rock 'n'"],
        ["Turkey", "turkey"],
        ["sea  lake", "river"],
    ],
)
def test_a_prompt_reaches_its_class_whatever_the_name(names: list[str]) -> None:
    answer = "\n".join(f"- {name}: a photo: the {{}} seen from above." for name in names)
    prompt = "a photo: the {} seen from above."
    assert class_proposals(answer, names) == [(0, prompt), (1, prompt)]


class Died(BaseException):
    """Simulates that the process is killed."""


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(("service", "class_share"), [("", 0.0), ("openai", 0.0), ("", 0.5)])
def test_a_killed_run_asks_nothing_twice(
    server: Any,
    tiny_vlm: OpenCLIP,
    small_task: Task,
    tmp_path: Path,
    after: int,
    service: str,
    class_share: float,
) -> None:
    server.propose = proposing_for_classes if class_share else proposing_by

    def run(left: int) -> tuple[list[Step], Usage]:
        vlm = cz.load_vlm(server.name(service)) if service else tiny_vlm
        with Journal(tmp_path / f"journal{left < 0}") as journal:
            behind = ReplayVLM(vlm, journal)
            made = behind.remembered

            def dying(make: Callable[[], str], example: str) -> str:
                nonlocal left
                if left == 0:
                    raise Died
                left -= 1
                return made(make, example)

            behind.remembered = dying  # type: ignore[method-assign]
            return steps_of(behind, small_task, server, class_share=class_share), behind.billed

    whole, billed = run(-1)
    asked = questions(server)
    server.answered.clear()
    with pytest.raises(Died):
        run(after)
    assert questions(server) == asked[:after]
    steps, same = run(100)
    assert questions(server) == asked
    assert same == billed
    assert billed.llm.llm_requests == len(asked) >= 3
    assert bool(billed.input_tokens) is bool(service)
    assert [step.solution.prompt for step in steps[1:]] == [
        step.solution.prompt for step in whole[1:]
    ]


def proposing_by(asked: str) -> str:
    """Prompts that depend on the question alone."""
    number = sum(asked.encode()) % 10_000
    return "\n".join(f"- a strange photo {number} {place} of a {{}}." for place in range(EACH))


def test_no_request_is_sent_that_may_exceed_the_limit(
    server: Any, make_tiny: Callable[..., Any], small_task: Task, tmp_path: Path
) -> None:
    price = Price(llm_output_tokens=1e-3)  # a request may cost 1, and costs much less

    def run(most: float) -> list[Step]:
        vlm = make_tiny()
        vlm.cost_limit = CostLimit(price=price, max_cost=most)
        with Journal(tmp_path / "journal") as journal:
            return steps_of(ReplayVLM(vlm, journal), small_task, server)

    with pytest.raises(
        CraftZooError,
        match=r"1 more LLM request, .* would cost 1 and exceed the limit of 0.9 \(0 spent\)",
    ):
        run(0.9)
    assert not questions(server)
    with pytest.raises(CraftZooError, match=r"exceed the limit of 1.01 \(0.0\d+ spent\)"):
        run(1.01)
    assert len(questions(server)) == 1
    assert run(9.0)[-1].queries == BUDGET  # goes on where the limit was reached
    assert len(questions(server)) == 3


@pytest.mark.parametrize("fault", ["429", "503", "500", "cut", "html"])
def test_faults_are_retried_and_nothing_answered_is_asked_again(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task, fault: str
) -> None:
    server.faults = [None, fault, fault]
    assert steps_of(tiny_vlm, small_task, server)[-1].queries == BUDGET
    assert len(questions(server)) == len(set(server.keys)) == 3


def test_an_endpoint_that_fails_ends_with_a_sentence_and_loses_nothing(
    server: Any, tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    def run() -> list[Step]:
        with Journal(tmp_path / "journal") as journal:
            return steps_of(ReplayVLM(tiny_vlm, journal), small_task, server)

    server.faults = [None, "500", "500", "500"]
    with pytest.raises(CraftZooError, match=r"gpt-4o@http\S+ gives no usable answer"):
        run()
    server.faults, server.said = ["401"], "Who are you?"
    with pytest.raises(CraftZooError, match=r"refused the key \(Who are you\?\): check OPENAI_API"):
        run()
    assert len(questions(server)) == 1
    assert run()[-1].queries == BUDGET
    assert len(questions(server)) == 3


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"llm": ""}, r"'llm-prompts' needs a language model, which bills its answers: set llm-"),
        ({"llm": "gpt-4"}, r"'gpt-4' is no name of a language model: write chat:MODEL or"),
        ({"llm": "chat:"}, r"the name 'chat:' is incomplete"),
        ({"llm": "chat:gpt-4"}, r"OpenAI needs a key: set OPENAI_API_KEY"),
        ({"proposals": 0}, r"setting llm-prompts.proposals must be at least 1"),
        ({"class_share": 1.0}, r"setting llm-prompts.class_share must be at least 0 and below 1"),
    ],
)
def test_without_a_language_model_nothing_is_asked(
    server: Any,
    tiny_vlm: OpenCLIP,
    small_task: Task,
    monkeypatch: pytest.MonkeyPatch,
    own: dict[str, Any],
    sentence: str,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    config = read_settings(settings(server, **own))
    with pytest.raises(CraftZooError, match=sentence):
        cz.tune(tiny_vlm, small_task, method="llm-prompts", config=config)
    with pytest.raises(CraftZooError, match=sentence):
        steps_of(tiny_vlm, small_task, server, **own)
    assert not server.headers


def test_its_usage_is_its_own() -> None:
    usage = Usage(2, 3, 4, 5, 6)
    assert usage.as_llm() == Usage(llm_requests=3, llm_input_tokens=5, llm_output_tokens=6)
    both = usage + usage.as_llm()
    assert both.llm == usage.as_llm()
    assert both.in_words().endswith("3 LLM requests, 5 LLM input tokens, 6 LLM output tokens")
    price = Price.parse("input_tokens=1,llm_output_tokens=2")
    assert price.cost(both) == pytest.approx(5e-6 + 12e-6)
    assert price.knows_llm
    assert not Price.parse("2.5").knows_llm


def test_an_empty_answer_is_one(server: Any) -> None:
    server.alter = lambda answer: {**answer, "choices": [{"message": {"content": None}}]}
    server.propose = lambda asked: "not sent"
    llm = LanguageModel(server.name("chat"))
    assert llm.complete("?") == ""
    assert llm.cost_limit.usage.llm_requests == 1


def test_without_usage_the_estimate_is_counted(server: Any) -> None:
    server.alter = lambda answer: {"choices": [{"message": {"content": "- a {}"}}]}
    server.propose = lambda asked: "not sent"
    llm = LanguageModel(server.name("chat"))
    assert llm.complete("?") == "- a {}"
    assert llm.cost_limit.usage == expected_usage("?", 1000).as_llm()


@pytest.mark.parametrize(
    ("content", "finish", "text"),
    [
        ("<think>\n- a draft of a {}\n</think>\n- a {}", "stop", "- a {}"),
        ([{"type": "text", "text": "- a {}"}], "stop", "- a {}"),
        ("- a {}\n- a {} at n", "length", "- a {}"),
        ("<think>\n- a {}\n- a", "length", ""),
        (None, "length", ""),
    ],
)
def test_thoughts_and_lines_that_are_cut_off_are_no_proposals(
    server: Any, caplog: pytest.LogCaptureFixture, content: Any, finish: str, text: str
) -> None:
    choice = {"message": {"content": content}, "finish_reason": finish}
    server.alter = lambda answer: {**answer, "choices": [choice]}
    server.propose = lambda asked: "not sent"
    assert LanguageModel(server.name("chat"), answer_tokens=200).complete("?") == text
    said = [each for each in caplog.messages if "ends after 200 tokens, before" in each]
    assert len(said) == (text == "")


MONEY = ["--price", "llm_input_tokens=1000,llm_output_tokens=1000"]


@pytest.mark.usefixtures("tiny_craft_mini")
def test_tune_says_what_it_may_cost_and_what_it_did(
    server: Any, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", f"folder:{image_folder}", "--shots", "2", "--method", "llm-prompts"]
    command += [*assignments(server), *MONEY, "--budget", str(BUDGET), "--estimate", "none"]
    command += ["--out", str(tmp_path / "a")]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "6 LLM requests" in said
    assert "count as free" not in said
    most = float(re.findall(r"a price of (\d+\.\d\d)", said)[0])
    assert main([*command, "--max-cost", "1"]) == 2
    cost, limit = re.findall(
        r"may cost ([\d.]+), more than --max-cost (\S+):", capsys.readouterr().err
    )[0]
    assert float(cost) == pytest.approx(most, abs=0.005)
    assert limit == "1"
    assert not server.headers
    assert main([*command, "--max-cost", "100"]) == 0
    last = " ".join(capsys.readouterr().out.split())
    assert "20 queries" in last
    assert "3 LLM requests" in last
    paid = float(re.findall(r"a price of (\d+\.\d\d)", last)[-1])
    assert 0 < paid < most
    tuned = cz.Adapter.load(tmp_path / "a").tuned
    assert tuned is not None
    assert tuned.cost == pytest.approx(paid, abs=0.01)


@pytest.mark.usefixtures("tiny_craft_mini")
@pytest.mark.parametrize("price", [[], ["--price", "2.5"]])
def test_answers_without_a_price_are_said_to_count_as_free(
    server: Any,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    price: list[str],
) -> None:
    """By dry runs, which need no key."""
    monkeypatch.delenv("OPENAI_API_KEY")
    tune = ["tune", f"folder:{image_folder}", "--shots", "2", "--method", "llm-prompts"]
    tune += [*assignments(server), "--budget", "20", "--out", str(tmp_path / "a")]
    for command in (tune, bench(server, image_folder, tmp_path / "out")):
        assert main([*command, *price, "--dry-run"]) == 0
        [line] = [each for each in capsys.readouterr().out.splitlines() if "count as free" in each]
        assert line.endswith("add llm_input_tokens=…,llm_output_tokens=… to --price")
    assert not server.headers


def bench(server: Any, images: Path, out: Path, *more: str) -> list[str]:
    grid = ["--dataset", f"folder:{images}", "--shots", "2", "--seed", "1", "--budget", str(BUDGET)]
    method = ["--method", "llm-prompts", *assignments(server)]
    return ["bench", *grid, *method, "--out", str(out), *more]


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_bench_has_it_on_the_curve_and_its_bill_in_the_record(
    server: Any, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(bench(server, image_folder, tmp_path / "out", *MONEY, "--dry-run")) == 0
    said = capsys.readouterr().out
    assert re.search(r"LLM requests 6\n", said)
    assert re.search(r"price \d+\.\d\d\n", said)
    assert not server.headers
    assert main(bench(server, image_folder, tmp_path / "out", *MONEY)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"asked for .* 3 LLM requests, .* a price of [\d.]+, and measuring", said)
    [record] = (tmp_path / "out" / "runs").glob("*/run.json")
    points = json.loads(record.read_text())["points"]
    assert [point["queries"] for point in points] == [0, 8, 12, 16, 20]
    assert [point.get("llm_requests", 0) for point in points] == [0, 0, 1, 2, 3]
    assert "llm_cost" not in points[0]
    tokens = points[-1]["llm_input_tokens"] + points[-1]["llm_output_tokens"]
    assert points[-1]["llm_cost"] == pytest.approx(tokens / 1000)
    assert main(["report", str(tmp_path / "out")]) == 0


@pytest.mark.slow
def test_kill_9_loses_no_proposal(
    server: Any, image_folder: Path, tmp_path: Path, start_command: Callable[..., Any]
) -> None:
    server.propose = proposing_by
    command = bench(server, image_folder, tmp_path / "out")
    # Measured and queried at the start, after the first hand-written prompts and each answer.
    killed = start_command(command, killed_after=("craft_zoo.blackbox.journal.Journal.keep", 6))
    killed.process.join()
    assert killed.process.exitcode == -signal.SIGKILL
    asked = questions(server)
    assert len(asked) == 2
    again = start_command(command)
    again.process.join()
    assert again.process.exitcode == 0, again.errors.read_text()
    assert questions(server)[:2] == asked
    assert len(questions(server)) == 3
    [record] = (tmp_path / "out" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["points"][-1]["llm_requests"] == 3
