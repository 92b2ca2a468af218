"""Templates: prompts in words, with ``{}`` where the class name stands."""

from __future__ import annotations

from craft_zoo.errors import PromptError

DEFAULT_INIT = "a photo of a"


def as_template(words: str) -> str:
    """A template as it is; words to stand before the class name, made into one.

    Raises:
        PromptError: ``{}`` occurs twice, there are no words, or it is no text.
    """
    if not isinstance(words, str):
        raise PromptError(f"a template must be text, as in {DEFAULT_INIT!r}, not {words!r:.60}")
    words = " ".join(words.split())
    if not words:
        raise PromptError(f"the prompt is empty: give words, as in {DEFAULT_INIT!r}")
    if words.count("{}") > 1:
        raise PromptError(f"the template {words!r} has more than one {{}}: leave one")
    return words if "{}" in words else f"{words} {{}}."


def fill(template: str, classname: str) -> str:
    """The prompt of a class."""
    return template.replace("{}", classname)


def words_before(template: str) -> str:
    """What stands before the class name, "" for nothing."""
    return template.partition("{}")[0].strip()
