"""Answers of chat models in all their forms: which option they name."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from craft_zoo.client.chat_answers import named, text_of

NAMES = ("cat", "dog", "ice cream", "Black footed albatross")
THING = tuple(f"thing {number}" for number in range(9))  # the last is option I


def listed(table: str) -> list[str]:
    """The cells of a table of strings."""
    return [cell for line in table.strip().splitlines() for cell in line.split("|")]


def place_of(answer: str, options: tuple[str, ...] = NAMES, finish: str = "stop") -> int | None:
    text = text_of({"message": {"content": answer}, "finish_reason": finish})
    found = named(text, options, cut=finish == "length")
    return None if found is None else found.place


DOG = r"""
B|b|(b)|[B]|**B**|__B__|_B_|*B*|"B"|'B'|`B`|“B”|« B »|„B“|「B」|Ｂ|（Ｂ）| B.|B)|B:|B!|B,|- B
Option B|option (b)|Choice B.|letter b|Answer: B|answer: b|**Answer:** B|**Answer: B**|Answer - B
The answer is B|The correct answer is (B).|My final answer is **B**.|I choose B.|It is B.
B is the best|B because it barks|Option B is correct|It must be (B)|Antwort: B
B. dog|B) dog|B: dog|B - dog|B – dog|(B) dog|**B.** dog|B dog|B.dog|Option B: dog
{"answer": "B"}|{"answer": "B", "confidence": 0.9}|{"final_answer":"dog"}|<answer>B</answer>
$\boxed{B}$|\boxed{\text{B}}|\boxed{dog}|\( B \)
dog|Dog|DOG|dog.|dog!|a dog|A dog|A dog.|the dog|"dog"|“dog”|„dog“|‚dog‘|‘dog’|« dog »|»dog«
**dog**|`dog`|*Dog*|ｄｏｇ|- dog|• dog|1. dog|2. dog|3) dog|#2: dog|Class: dog|label=dog
The image shows a dog.|This is a dog on a lawn.|It's a dog, I think.|I see a dog
答案是B|非常确定是B|答案：B。|我选择B选项|选B|第B项|B是狗|答えはBです|正解：B|정답은 B입니다
La réponse est B|The letter is b.
<think>A cat? No, a dog.</think>B|◁think▷A◁/think▷B|<thinking>A</thinking>B<thinking>A
"""


@pytest.mark.parametrize("answer", listed(DOG))
def test_an_answer_names_its_option(answer: str) -> None:
    assert place_of(answer) == 1


def test_answers_of_several_lines() -> None:
    assert place_of("<think>\nC or A\n</think>\n\n**dog**") == 1
    assert place_of("[THINK]A[/THINK]B") == place_of("<seed:think>A</seed:think>B") == 1
    analysis, final = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
    assert place_of(f"{analysis}A<|end|><|start|>assistant{final}B<|return|>") == 1
    assert place_of(f"{analysis}I think B") is None
    assert place_of("analysisIs it A?assistantfinalB") == 1  # without the special tokens
    assert place_of("<unused94>thought\nA<unused95>B") == 1
    assert place_of("It looks like a cat.</think>\n\nB") == 1  # the tag before is in the template
    assert place_of('```json\n{"answer": "B"}\n```') == 1
    assert place_of("B\n\nThe image shows a dog and no cat.") == 1
    assert place_of("**B**\n\nCats have other ears.") == 1
    assert place_of("It is no cat, so it barks.\n\n**Answer:**\n\n**B**") == 1
    assert place_of("A? No cat.\nThe answer is C.\nWait, the answer is B.") == 1


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        *(("ice-cream", 2), ("Ice Cream", 2), ("ice_cream!", 2), ("an ice  cream", 2)),
        *(("Black-footed albatross", 3), ("a black footed albatross.", 3)),
        *(("A", 0), ("A.", 0), ("a", 0), ("A\n", 0), ("A: it is a cat", 0), ("Option A is it", 0)),
        *(("A. cat", 0), ("A cat", 0), ("A dog", 1), ("a cat", 0), ("The answer is A.", 0)),
    ],
)
def test_names_of_several_words_and_articles(answer: str, place: int) -> None:
    assert place_of(answer) == place


NOTHING = """
|  |Sorry.|I cannot say.|A strange picture.|The image|E|2|2.|?|Category|catfish|hotdog
T-shirt|e.g. D.C.|B or C|A or B|A and B|A, B|A/B|dog or cat|B. cat|A dog and a cat
Options A to D|A-D|not B|B, not A
I'm sorry, but this is no dog.|I can't see a dog.|I can’t tell if it is a dog
It isn't a dog|The answer is not B|neither A nor B|None of the above|unable to see a dog
B is incorrect|anything other than B|Die Antwort ist nicht B|Ce n'est pas B
不是B|无法判断是B|Bではありません
B或C|The answer is B. Unlike answer A, it barks
<think>B|<think>B or A?|[THINK]B|analysisB? Or|<unused94>thought B
the black one|footed albatross|{"answer": null}|{"error": "busy"}
"""


@pytest.mark.parametrize("answer", listed(NOTHING))
def test_other_answers_name_none(answer: str) -> None:
    assert place_of(answer) is None


@pytest.mark.parametrize("answer", ["I", "I'm", "I’m sorry", "I cannot", "I see", "A picture"])
def test_words_are_no_letters(answer: str) -> None:
    assert place_of(answer, THING) == (8 if answer == "I" else None)


@pytest.mark.parametrize("answer", ["O cachorro", "E il cane", "T恤", "这是T恤", "维生素C", "B超"])
def test_words_of_other_languages_are_no_letters(answer: str) -> None:
    assert place_of(answer, tuple(f"thing {number}" for number in range(20))) is None


@pytest.mark.parametrize(
    ("answer", "options", "place"),
    [
        ("black cat", ("cat", "black cat"), 1),  # the longest name
        ("cat", ("cat", "black cat"), 0),
        ("Turkey", ("turkey", "Turkey"), 1),  # in case alone
        ("TURKEY", ("turkey", "Turkey"), None),
        ("straße", ("Straße", "Weg"), 0),
        ("café", ("cafe\u0301", "bar"), 0),
        ("No.", ("yes", "no"), 1),
        ("No, this is not true.", ("yes", "no"), 1),
        ("Yes", ("yes", "no"), 0),
        ("There is no tumour", ("tumour", "no tumour"), 1),
        ("none of these", ("cat", "none of these"), 1),
        ("2", ("0", "1", "2"), 2),  # names that are numbers
        ("2. one", ("one", "2"), None),
        ("B", ("B", "A"), 1),  # the letter in the question
        ("B. A", ("B", "A"), 1),
        ("x", ("x", "y"), 0),
        ("ab", ("ab", "c", "d"), 0),
        ("+", ("+", "-"), None),
        ("B", ("+", "-"), 1),
        ("狗", ("猫", "狗"), 1),
        ("图片中显示的是狗。", ("猫", "狗"), 1),  # within a sentence without spaces
        ("这是一只可爱的狗", ("猫", "狗"), 1),
        ("图中是一条河岸", ("河", "河岸"), 1),
        ("画像には犬が写っています", ("猫", "犬"), 1),
        ("개가 있습니다", ("고양이", "개"), 1),
        ("是猫和狗", ("猫", "狗"), None),
        ("不是狗", ("猫", "狗"), None),
        ("错误的是B", ("猫", "狗"), None),
        ("这是水果", ("水", "土"), None),  # part of another word
        ("माला", ("माल", "माला"), 1),  # a garland, not goods: a vowel sign belongs to its letter
        ("यह घोड़ी है", ("घोड़ा", "घोड़ी"), 1),
        ("मीर", ("मोर", "बाघ"), None),
        ("The answer is the answer key", ("answer key", "door"), 0),
    ],
)
def test_names_of_every_kind(answer: str, options: tuple[str, ...], place: int | None) -> None:
    assert place_of(answer, options) == place


@pytest.mark.parametrize(
    ("answer", "options", "place"),
    [
        ("B", NAMES, 1),
        ("The image shows a", NAMES, None),  # dog
        ("Sorry, but I", THING, None),
        ("Ice", ("ice", "ice cream"), None),
        ("Ice", ("ice", "snow"), 0),
        ("The answer is dog", NAMES, 1),
    ],
)
def test_an_answer_that_is_cut_off(
    answer: str, options: tuple[str, ...], place: int | None
) -> None:
    assert place_of(answer, options, finish="length") == place


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"message": {"content": None}}, ""),
        ({"message": {}}, ""),
        ({"message": {"content": "B", "refusal": "I can't help."}}, ""),
        ({"message": {"content": "B", "refusal": None}}, "B"),
        ({"message": {"content": "B"}, "finish_reason": "content_filter"}, ""),
        ({"message": {"content": None, "reasoning_content": "B?"}, "finish_reason": "length"}, ""),
        ({"message": {"content": [{"type": "text", "text": " B"}]}}, "B"),
        (
            {
                "message": {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "A?"}]},
                        {"type": "text", "text": "B"},
                    ]
                }
            },
            "B",
        ),
        ({"message": {"content": [{"type": "refusal", "refusal": "No B."}]}}, ""),
    ],
)
def test_the_text_of_a_choice(choice: dict[str, Any], text: str) -> None:
    assert text_of(choice) == text


NAME = st.text("abcdefg -.", min_size=2, max_size=12).filter(
    lambda name: len(name.replace(" ", "").replace("-", "").replace(".", "")) > 1
)
WRAPPINGS = r"""
{}|{}.|{})|({})|**{}**|`{}`|“{}”|« {} »| {} |Answer: {}|The answer is {}.|Option {}|\boxed{{{}}}
{{"answer": "{}"}}|<think>A or B</think>{}|<answer>{}</answer>
"""
WRAPPING = st.sampled_from(listed(WRAPPINGS))


@given(st.lists(NAME, min_size=2, max_size=20), WRAPPING, st.data())
def test_a_letter_is_understood_in_any_wrapping(
    options: list[str], wrapping: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(options) - 1))
    letter = string.ascii_uppercase[place]
    assert place_of(wrapping.format(letter), tuple(options)) == place


@given(
    st.lists(st.sampled_from(["cat", "dog", "sea lake", "wren", "oak"]), min_size=2, unique=True),
    WRAPPING,
    st.sampled_from([str.upper, str.title, str.lower]),
    st.data(),
)
def test_a_name_is_understood_in_any_wrapping_and_order(
    options: list[str], wrapping: str, case: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(options))
    said = wrapping.format(case(name))
    assert place_of(said, tuple(options)) == options.index(name)
    other = data.draw(st.permutations(options))
    assert place_of(said, tuple(other)) == other.index(name)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=20))
@example("(?:[", ["(?:[", "\\"])
def test_any_answer_to_any_question_is_read(answer: str, options: list[str]) -> None:
    place = place_of(answer, tuple(options))
    assert place is None or 0 <= place < len(options)
