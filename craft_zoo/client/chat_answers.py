"""Answers of chat models: their text, and the option of a question that it names."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_TAG = r"(?:\w+:)?(?:think|thinking|thought|reasoning|analysis|reflection)\|?[>▷\]]"
# The others are gpt-oss's channels, with and without their tags, and MedGemma's tokens.
_BEGIN = rf"[<◁\[]\|?{_TAG}|<\|channel\|>(?!final)|\Aanalysis(?=\w)|<unused94>"
_END = rf"[<◁\[]\|?/{_TAG}|<\|channel\|>final\b[^\n]*?<\|message\|>|assistantfinal|<unused95>"
_THOUGHTS = re.compile(rf"^.*(?:{_END})|(?:{_BEGIN}).*", re.DOTALL | re.IGNORECASE)
# "The answer is B", "Answer: B", "boxed{B}"; not "unlike answer A".
_ANSWER = re.compile(
    r"(?:answer|boxed)\b(?:\s+is\b\W*|\W*[^\w\s]\W*(?:is\b\W*)?)(.*)", re.IGNORECASE
)
_NEGATED = re.compile(
    r"\b(?:no|not|none|neither|nor|never|cannot|unable|unsure|sorry|wrong|incorrect|except|excluding"
    r"|unlikely|impossible|(?:rather|other) than|instead of|rul\w+ out"
    r"|nicht|kein\w*|weder|pas|aucune?|ni|ning[uú]n\w*|não|nenhum\w*|non|nessun\w*|niet|geen|не|нет)\b"
    r"|n['’]t\b|[不没沒無无错錯误誤]|非(?!常)|ない|ません|아니|않",
    re.IGNORECASE,
)
_CUT_WORD = re.compile(r"(?<=\w)\s+(?:a|I)$")  # "The image shows a", which an option would follow
# Vowel signs of Hindi or Thai and accents, which are no word characters to a regular expression.
_MARKS = "".join(
    one for one in map(chr, range(0x300, 0x1E00)) if unicodedata.category(one)[0] == "M"
)
_SIGN = rf"(?:[^\W_]|[{_MARKS}])"  # a letter with its marks, or a digit
# Ends of a word, which in Chinese and Japanese other words may follow without spaces: "答案是B".
_START = rf"(?:(?<=[是为為选選择擇項项案第或和了的有示はのと])|(?<=一\w)|(?<!{_SIGN}))"
_END_OF_WORD = rf"(?=[是为為选選項项或和的はがのをとだで입이가은는을를]|(?!{_SIGN}))"
# Not in "I'm", "T-shirt", "e.g." or "T恤".
_ALONE = (
    rf"{_START}(?<!{_SIGN}['’-])(?<![A-Za-z]\.)([{{}}])(?!['’-]{_SIGN}|\.{_SIGN}\b){_END_OF_WORD}"
)
_KEYWORD = re.compile(r"(?:option|choice|letter)(?:\s+is)?\W*$", re.IGNORECASE)
# After A, E, I or O, which are words of some languages.
_ARTICLE = re.compile(rf" (?!(?:and|as|because|is|or|since|to)\b){_SIGN}")


class Named(NamedTuple):
    """The option that an answer names.

    Attributes:
        place: its place in the question.
        at: where in the answer its letter is; None: it is named in words.
    """

    place: int
    at: int | None


def text_of(choice: dict[str, Any]) -> str:
    """The text of a chat completion's choice in Unicode form NFKC, without thinking.

    "": it was refused or filtered, or has thoughts alone.

    Raises:
        AttributeError, KeyError, TypeError: it is malformed.
    """
    message = choice["message"]
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        return ""
    content = message.get("content") or ""
    if not isinstance(content, str):  # a list of parts, of which thoughts have no text
        content = "".join(part.get("text") or "" for part in content)
    return normal(_THOUGHTS.sub("", content)).strip()


def is_cut(choice: dict[str, Any]) -> bool:
    """Whether a choice ends at the maximum length of an answer."""
    return choice.get("finish_reason") == "length"


def normal(text: str) -> str:
    """The text in Unicode form NFKC, in which full-width letters are ASCII."""
    return unicodedata.normalize("NFKC", text)


def letter_of(token: str) -> str:
    """The letters of a token, as capitals: "B" of " b)"."""
    return re.sub(r"[^A-Za-z]", "", normal(token)).upper()


def named(text: str, options: Sequence[str], *, cut: bool = False) -> Named | None:
    """The only option that a text names, by its letter or in words; None: none, or several.

    Of a text with an explicit answer ("The answer is …", ``\\boxed{…}``), the last one is read. Of
    a first line that is a letter alone, the rest is not read. A text that denies names nothing.

    Args:
        text: from :func:`text_of`.
        options: the values of at most 26 options, whose letters are A, B, …
        cut: whether the text ends at the maximum length of an answer.
    """
    if cut:
        text = _CUT_WORD.sub("", text)
    values = [normal(value) for value in options]
    parts = [one.span(1) for one in _ANSWER.finditer(text)][::-1]
    first = text.partition("\n")[0]
    if len(letter_of(first)) == 1 == len(re.findall(_SIGN, first)):
        parts.append((0, len(first)))
    for start, end in [*parts, (0, len(text))]:
        found = _mentions(text[start:end], values, cut=cut and end == len(text))
        if len({each.place for each in found}) > 1:
            return None
        if found:
            letters = [start + each.at for each in found if each.at is not None]
            return Named(found[0].place, letters[0] if letters else None)
    return None


def _mentions(text: str, values: Sequence[str], *, cut: bool) -> list[Named]:
    """The options that a text names; none if it denies."""
    letters = string.ascii_uppercase[: len(values)]
    for place, (letter, value) in enumerate(zip(letters, values, strict=True)):
        if _words(text) == _words(f"{letter} {value}"):  # as the question lists it
            return [Named(place, text.upper().index(letter))]
    found, rest = [], text
    for place, start, end in _names(text, values, letters, cut=cut):
        found.append(Named(place, None))
        rest = rest[:start] + "0" * (end - start) + rest[end:]  # a word without letters
    if _NEGATED.search(rest) and not any(_NEGATED.search(values[each.place]) for each in found):
        return []
    for one in re.finditer(_ALONE.format(letters + letters.lower()), rest):
        before, sign, after = rest[: one.start()], one[1], rest[one.end() :]
        is_word = sign in "AEIOaeio" and _ARTICLE.match(after)
        first = not is_word and not re.search(_SIGN, before)
        if first or _KEYWORD.search(before) or (sign in letters.replace("I", "") and not is_word):
            found.append(Named(letters.index(sign.upper()), one.start()))
    return found


def _names(
    text: str, values: Sequence[str], letters: str, *, cut: bool
) -> Iterator[tuple[int, int, int]]:
    """Options that a text names in words, with their spans; of names within others, the longest.

    Names that are the letter of an option are left out.
    """
    longest = sorted(values, key=len, reverse=True)
    forms = [
        r"[\W_]+".join(words)
        for words in (re.findall(rf"{_SIGN}+", value) for value in longest)
        if words and not (len("".join(words)) == 1 and words[0].upper() in letters)
    ]
    pattern = rf"{_START}(?:{'|'.join(forms) or '(?!)'}){_END_OF_WORD}"
    keys = list(map(_words, values))
    for one in re.finditer(pattern, text, re.IGNORECASE):
        said = _words(one[0])
        if cut and not re.search(_SIGN, text[one.end() :]):  # the name may go on
            same = [place for place, key in enumerate(keys) if key.startswith(said)]
        elif one[0] in values:  # of names that differ in case alone
            same = [values.index(one[0])]
        else:
            same = [place for place, key in enumerate(keys) if key == said]
        for place in same:
            yield place, *one.span()


def _words(text: str) -> str:
    """The words of a text, with single spaces between them and without capitals."""
    return " ".join(re.findall(rf"{_SIGN}+", text.casefold()))
