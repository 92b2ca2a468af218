"""Templates: text prompts in which ``{}`` stands for the class name."""

from __future__ import annotations

from craft_zoo.errors import PromptError

DEFAULT_INIT = "a photo of a"


def as_template(words: str) -> str:
    """Return a template unchanged, or make one from the words before the class name.

    Raises:
        PromptError: ``{}`` occurs twice, there are no words, or the argument is no string.
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
    """The prompt of a class: the template with its name in place of ``{}``."""
    return template.replace("{}", classname)


def words_before(template: str) -> str:
    """The words before the class name, possibly ""."""
    return template.partition("{}")[0].strip()
