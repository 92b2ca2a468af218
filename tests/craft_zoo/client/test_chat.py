"""Chat models as classifiers: letters, their log-probabilities, or labels alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import craft_zoo as cz
from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.blackbox.base import Asked
from craft_zoo.client import Retrying
from craft_zoo.client.chat import Chat, ChatOptions
from craft_zoo.client.probabilities import UNROUNDED
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError

pytest.importorskip("openai")

Start = Callable[[Callable[[dict[str, Any]], Any]], str]
NAMES = ("cat", "dog", "cow")


def completion(*choices: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": len(choices), "total_tokens": 0}
    return {"id": "x", "object": "chat.completion", "choices": list(choices), "usage": usage}


def spoken(text: str, logprobs: dict[str, float] | None = None) -> dict[str, Any]:
    """A chat completion's choice, with the likeliest first tokens or with text alone."""
    said = {"index": 0, "message": {"role": "assistant", "content": text}}
    if logprobs is None:
        return said
    top = [{"token": token, "logprob": float(np.log(p))} for token, p in logprobs.items()]
    return said | {"logprobs": {"content": [{"token": text, "logprob": 0, "top_logprobs": top}]}}


def tokens(*said: str | tuple[str, dict[str, float]], text: str | None = None) -> dict[str, Any]:
    """A choice of several tokens, some with the likeliest ones in their place."""
    content = []
    for one in said:
        token, top = (one, {one: 1.0}) if isinstance(one, str) else one
        likeliest = spoken(token, top)["logprobs"]["content"][0]["top_logprobs"]
        content.append({"token": token, "logprob": 0, "top_logprobs": likeliest})
    whole = "".join(each["token"] for each in content) if text is None else text
    return spoken(whole) | {"logprobs": {"content": content}, "finish_reason": "stop"}


def probabilities(url: str, task: Task, **options: Any) -> np.ndarray:
    vlm = QuestionVLM(Chat("m", url, key="", options=ChatOptions(**options)))
    return np.exp(vlm.classifier(NAMES).score("a tiny {}.", vlm.images(task.train.images[:1])))


def test_a_question_lists_its_options_by_letters(json_server: Start, small_task: Task) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return completion(spoken("B", {"B": 0.5, " b": 0.1, "C": 0.2, "The": 0.15, "(A": 0.05}))

    [row] = probabilities(json_server(answer), small_task)
    np.testing.assert_allclose(row, np.array([0.05, 0.6, 0.2]) / 0.85, atol=1e-6)
    [body] = bodies
    assert body["messages"][0]["content"][1]["text"] == (
        "Which of these does the image show?\n"
        "A. cat: a tiny cat.\nB. dog: a tiny dog.\nC. cow: a tiny cow.\n"
        "Answer with the letter of the option that fits best (A to C). "
        "Write nothing but the letter."
    )
    assert (body["max_tokens"], body["top_logprobs"], body["temperature"]) == (8, 20, 0)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        *(("B", 1), ("b)", 1), (" C.", 2), ("cow", 2), ("Dog.", 1), ("A. cat", 0), ("A\n", 0)),
        *(("B dog", 1), ("A dog.", 1), ("a cow", 2), ("A: it is a cat", 0)),
    ],
)
def test_a_label_alone_is_counted(
    json_server: Start, small_task: Task, said: str, place: int
) -> None:
    [row] = probabilities(json_server(lambda _: completion(spoken(said))), small_task)
    assert row.argmax() == place
    np.testing.assert_allclose(sorted(row), [0.2, 0.2, 0.6], atol=1e-6)  # (1/2, 1/2, 3/2) / (5/2)


LIKELIEST = {"B": 0.4, " B": 0.1, "b": 0.1, "C": 0.2, "The": 0.15, "(A": 0.05}
FROM_TOKENS = np.array([0.05, 0.6, 0.2]) / 0.85


@pytest.mark.parametrize(
    "choice",
    [
        tokens(("B", LIKELIEST)),
        tokens("**", ("B", LIKELIEST), "**"),
        tokens(("\n", {"\n": 0.5, "A": 0.5}), ("B", LIKELIEST)),
        tokens(("The", {"The": 0.9, "A": 0.1}), " answer", " is", (" B", LIKELIEST), "."),
        tokens(('{"', {'{"': 0.9, "C": 0.1}), "answer", '":', ' "', ("B", LIKELIEST), '"}'),
        tokens("A", " or", " C", "?", "</think>", "\n", ("B", LIKELIEST), "<|im_end|>", text="B"),
        tokens(("Ｂ", LIKELIEST)),
        tokens(("B", LIKELIEST), ".", " It", " is", " a", " dog", "."),
    ],
)
def test_probabilities_are_those_in_the_place_of_the_answered_letter(
    json_server: Start, small_task: Task, choice: dict[str, Any]
) -> None:
    [row] = probabilities(json_server(lambda _: completion(choice)), small_task)
    np.testing.assert_allclose(row, FROM_TOKENS, atol=1e-6)


@pytest.mark.parametrize(
    ("likeliest", "expected"),
    [
        ({"B": 0.9, "The": 0.05, "It": 0.04}, [0.005, 0.9, 0.005]),  # 0.01 is missing
        ({"B": 0.9, "C": 0.02, "It": 0.001}, [0.001, 0.9, 0.02]),  # A is not likelier than It
        ({"B": 1 - 3e-8, "C": 2e-8, "It": 1e-8}, [5e-13, 1 - 3e-8, 2e-8]),  # nothing is missing
    ],
)
def test_an_option_that_is_not_among_the_likeliest_tokens_is_no_likelier_than_they(
    json_server: Start, small_task: Task, likeliest: dict[str, float], expected: list[float]
) -> None:
    [row] = probabilities(json_server(lambda _: completion(tokens(("B", likeliest)))), small_task)
    np.testing.assert_allclose(row, np.array(expected) / sum(expected), rtol=1e-4)


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        (tokens(("A", {"A": 0.9, "C": 0.1}), " dog"), 1),  # an article
        (tokens(("C", {"C": 0.9, "A": 0.1}), "ow"), 2),  # the beginning of a word
        (tokens(("C", {"C": 0.9, "B": 0.1}), "at", "."), 0),
        (tokens(("Dog", {"Dog": 0.9, "C": 0.1})), 1),
        (tokens(("B", {})), 1),  # top_logprobs is ignored
        (tokens(("B", {"B": 1.0, "A": 1.0, "the": 1.0})), 1),  # all are 0
        (tokens(("B", {"B": float("nan"), "A": 0.1})), 1),
        (tokens("A", "C", text="B"), 1),  # tokens of another text
        (spoken("B") | {"logprobs": None}, 1),
        (spoken("B") | {"logprobs": {"content": None, "refusal": []}}, 1),
    ],
)
def test_an_answer_in_words_or_without_log_probabilities_is_a_label(
    json_server: Start, small_task: Task, choice: dict[str, Any], place: int
) -> None:
    [row] = probabilities(json_server(lambda _: completion(choice)), small_task)
    assert row.argmax() == place
    np.testing.assert_allclose(sorted(row), [0.2, 0.2, 0.6], atol=1e-6)


def test_the_order_of_the_options_permutes_the_probabilities(
    json_server: Start, small_task: Task
) -> None:
    shares = dict(zip(NAMES, (0.5, 0.3, 0.2), strict=True))

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][0]["content"][1]["text"]
        listed = re.findall(r"^([A-C])\. (\w+)", text, re.MULTILINE)
        top = {letter: shares[name] for letter, name in listed}
        return completion(tokens("(", (max(top, key=lambda one: top[one]), top), ")"))

    vlm = QuestionVLM(Chat("m", json_server(answer), key=""))
    images = vlm.images(small_task.train.images[:1])
    for names in permutations(NAMES):
        [row] = vlm.classifier(names).score("a {}.", images)
        np.testing.assert_allclose(np.exp(row), [shares[name] for name in names], atol=1e-6)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (spoken("") | {"finish_reason": "length"}, r"of 2 questions: allow more than 8 tokens"),
        (
            spoken("<think>Let me") | {"finish_reason": "length"},
            r"of 2 questions: allow more than 8 tokens \(--model-option answer_tokens=…\), or let "
            r"the model think less \(--model-option reasoning_effort=…\)$",
        ),
        (
            tokens("Looking", " at", " B") | {"finish_reason": "length"} | spoken("Looking at"),
            r"of 2 questions \(it said 'Looking at'\): allow more than 8 tokens",
        ),
        (spoken("Sorry,\n no."), r"of 2 questions \(it said 'Sorry, no.'\): ask for other classes"),
        ({"message": {"content": None, "refusal": "No."}}, r"of 2 questions: ask for other"),
    ],
)
def test_the_first_unread_answer_says_how_to_get_answers(
    json_server: Start, small_task: Task, choice: dict[str, Any], said: str
) -> None:
    vlm = QuestionVLM(Chat("m", json_server(lambda _: completion(choice)), key=""))
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:2])
    with pytest.raises(CraftZooError, match=r"refused to answer all " + said):
        box.score("a {}", images)


def test_thoughts_are_billed_and_can_be_asked_for(json_server: Start, small_task: Task) -> None:
    """Gemini's usage counts them in the total alone."""
    bodies: list[dict[str, Any]] = []
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 426}

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return completion(spoken("B")) | {"usage": usage}

    url = json_server(answer)
    for effort in ("default", "none", "high"):
        vlm = cz.load_vlm(f"chat:m@{url}", options={"reasoning_effort": effort})
        vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:1]))
        assert (vlm.billed.input_tokens, vlm.billed.output_tokens) == (20, 406)
    assert [body.get("reasoning_effort") for body in bodies] == [None, "none", "high"]
    with pytest.raises(cz.optimizers.OptimizerError, match="must be default or none or minimal"):
        cz.load_vlm(f"chat:m@{url}", options={"reasoning_effort": "some"})
    said = "Unsupported value: 'reasoning_effort' does not support 'none' with this model."
    vlm = cz.load_vlm(
        f"chat:m@{json_server(lambda _: rejection(said))}", options={"reasoning_effort": "none"}
    )
    with pytest.raises(CraftZooError, match="set reasoning_effort to a value that the model knows"):
        vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:1]))


def test_refusals_of_recorded_answers_are_counted(
    json_server: Start, small_task: Task, tmp_path: Path
) -> None:
    """After an interruption, those of the continued run alone were counted."""
    count = iter(range(1000))
    said = [completion(spoken("A")), completion(spoken("I won't") | {"finish_reason": "stop"})]
    server = json_server(lambda _: said[next(count) % 2])

    def ask(queries: int) -> int:
        model = QuestionVLM(Chat("m", server, key=""), concurrency=1)
        with Journal(tmp_path / "journal") as journal:
            vlm = ReplayVLM(model, journal)
            box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:2])
            for number in range(queries):
                box.score(f"photo {number} of a {{}}", images)
        return model.refused

    assert ask(3) == 3
    assert ask(5) == 5
    assert next(count) == 10


def test_unread_answers_are_counted_and_told(
    json_server: Start, small_task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    """The first, and the tenth."""
    count = iter(range(1000))

    def answer(_: Any) -> dict[str, Any]:
        text = "Let me see" if next(count) % 2 else "B"
        return completion(spoken(text) | {"finish_reason": "length"})

    vlm = QuestionVLM(Chat("m", json_server(answer), key=""), concurrency=1)
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:2])
    for _ in range(12):
        box.score("a {}", images)
    assert vlm.refused == 12
    lines = [each.partition(" refused ")[2] for each in caplog.messages if "undecided" in each]
    assert lines == [
        f"{share} questions so far (it said 'Let me see'), which count as undecided: allow more "
        "than 8 tokens (--model-option answer_tokens=…), or let the model think less "
        "(--model-option reasoning_effort=…)"
        for share in ("1 of 2", "10 of 20")
    ]


def rejection(said: str, status: int = 400) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": said, "type": "invalid_request_error", "code": None}}


def quick_chat(url: str) -> QuestionVLM:
    return QuestionVLM(
        Chat("m", url, key=""), retrying=Retrying(first=0.001, longest=0.001), concurrency=2
    )


def thinks(body: dict[str, Any]) -> Any:
    if "logprobs" in body or "top_logprobs" in body:
        return rejection("model gpt-4.1 does not support parameter logprobs")
    if "temperature" in body:
        return rejection("Unsupported value: 'temperature' does not support 0 with this model.")
    if "max_tokens" in body:
        return rejection("'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
    return completion(spoken("B"))


def knows_five(body: dict[str, Any]) -> Any:
    if body.get("top_logprobs", 0) > 5:
        return rejection("Requested sample logprobs of 20, which is greater than max allowed: 5")
    return completion(tokens(("B", LIKELIEST)))


@pytest.mark.parametrize(
    ("service", "expected", "said"),
    [
        (thinks, [0.2, 0.6, 0.2], "with max_completion_tokens=8"),
        (knows_five, FROM_TOKENS, "is asked with top_logprobs=5 (Requested sample"),
    ],
)
def test_what_a_service_rejects_is_left_out(
    json_server: Start,
    small_task: Task,
    caplog: pytest.LogCaptureFixture,
    service: Callable[[dict[str, Any]], Any],
    expected: Any,
    said: str,
) -> None:
    rejected = []

    def answer(body: dict[str, Any]) -> Any:
        found = service(body)
        rejected.append(isinstance(found, tuple))
        return found

    vlm = quick_chat(json_server(answer))
    box, images = vlm.classifier(NAMES), vlm.images(small_task.train.images[:8])
    box.score("a {}", images)
    del rejected[:]
    rows = np.exp(box.score("one {}", images))
    np.testing.assert_allclose(rows, np.tile(expected, (8, 1)), atol=1e-3)
    assert not any(rejected)
    assert said in caplog.text
    assert vlm.billed.requests == 16


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            rejection("Could not finish the message because max_tokens or model output limit was "),
            r"rejected the request .*: check model and images$",
        ),
        (
            rejection("Could not finish, max_tokens or model output limit was reached. Try again."),
            r"rejected the request .*: raise answer_tokens$",
        ),
        ({"error": {"message": "Who are you?", "code": 401}}, r"refused the key \(Who are you\?\)"),
    ],
)
def test_errors_are_sentences(
    json_server: Start, small_task: Task, answer: Any, message: str
) -> None:
    vlm = quick_chat(json_server(lambda _: answer))
    with pytest.raises(CraftZooError, match=message):
        vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:1]))


def test_errors_within_an_answer_are_retried(json_server: Start, small_task: Task) -> None:
    """As OpenRouter returns them, with status 200."""
    said: Any = iter([{"error": {"message": "busy", "code": code}} for code in (429, 502, "x")])
    url = json_server(lambda _: next(said, completion(spoken("B"))))
    vlm = quick_chat(url)
    [row] = vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:1]))
    assert row.argmax() == 1
    assert vlm.billed.requests == 1  # errors are not billed


def test_an_image_that_a_filter_rejects_is_undecided(
    json_server: Start, small_task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    filtered = rejection(
        "The response was filtered due to Azure OpenAI's content management policy"
    )
    said = iter([completion(spoken("B")), filtered])
    vlm = QuestionVLM(Chat("m", json_server(lambda _: next(said)), key=""), concurrency=1)
    rows = vlm.classifier(NAMES).score("a {}", vlm.images(small_task.train.images[:2]))
    assert rows[0].argmax() == 1
    np.testing.assert_array_equal(rows[1], 0)
    assert vlm.refused == 1
    assert 'refused 1 of 2 questions so far (it said "The response was filtered' in caplog.text
    assert vlm.billed.requests == 2  # it may be billed


def test_the_estimate_has_answers_of_full_length(small_task: Task) -> None:
    vlm = QuestionVLM(Chat("m", "http://x", options=ChatOptions(repeats=3, answer_tokens=200)))
    usage = vlm.expected_usage([Asked(("a {}",), None, 1)], small_task.train.images[:4], NAMES)
    assert usage.output_tokens == 4 * 3 * 200


def test_repeated_labels_are_counted(json_server: Start, small_task: Task) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert (body["n"], body["temperature"]) == (4, 1)
        return completion(*map(spoken, ("A", "A", "I cannot say", "C")))

    [row] = probabilities(json_server(answer), small_task, repeats=4)
    np.testing.assert_allclose(row, np.array([2.5, 0.5, 1.5]) / 4.5, atol=1e-6)


def test_labels_are_no_rounded_probabilities(json_server: Start, small_task: Task) -> None:
    """Those of a label for one of eight options, 0.3 and 0.1, would be taken for such."""
    url = json_server(lambda _: completion(spoken("A")))
    vlm = QuestionVLM(Chat("m", url, key="", options=ChatOptions()))
    box = vlm.classifier([f"thing {number}" for number in range(8)])
    [row] = np.exp(box.score("a {}.", vlm.images(small_task.train.images[:1])))
    np.testing.assert_allclose(row, [0.3, *[0.1] * 7], atol=1e-6)
    assert vlm.decimals == UNROUNDED


def test_a_service_that_gives_one_answer_in_place_of_several_is_a_sentence(
    json_server: Start, small_task: Task
) -> None:
    """Ollama ignores n, and the one answer is drawn at temperature 1."""
    url = json_server(lambda _: completion(spoken("A")))
    with pytest.raises(CraftZooError, match=r"^chat:m@.* gives 1 answer where 4 are asked for"):
        probabilities(url, small_task, repeats=4)


@pytest.mark.parametrize("said", ["Sorry.", "I cannot say.", "A strange picture."])
def test_an_answer_without_an_option_is_a_refusal(
    json_server: Start, small_task: Task, said: str
) -> None:
    vlm = QuestionVLM(Chat("m", json_server(lambda _: completion(spoken(said))), key=""))
    box = vlm.classifier([f"thing {number}" for number in range(9)])  # the last is option I
    [row] = box.score("a {}", vlm.images(small_task.train.images[:1]))
    np.testing.assert_array_equal(row, 0)  # no class is preferred


def test_methods_work_and_money_is_counted(
    json_server: Start, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    requests = 0

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal requests
        requests += 1
        image, text = (part for part in body["messages"][0]["content"])
        letters = re.findall(r"^([A-Z])\. ", text["text"], flags=re.MULTILINE)
        seed = hashlib.sha256((image["image_url"]["url"] + text["text"]).encode()).digest()
        p = np.random.default_rng(seed[0]).dirichlet(np.ones(len(letters)))
        return completion(spoken("A", dict(zip(letters, p, strict=True))))

    vlm = cz.load_vlm(f"chat:m@{json_server(answer)}", options={"permutations": 2})
    for method, queries in (("zero-shot", 0), ("refine", 1), ("craft-hard", 5)):
        before = vlm.billed
        tuned = cz.tune(vlm, small_task, method=method, budget=5)
        assert tuned.meter.queries == queries
        assert (vlm.billed - before).requests == queries * 2 * len(small_task.train)
    assert vlm.billed.input_tokens == 100 * requests
