"""Templates: text prompts in which ``{}`` stands for the class name."""

from __future__ import annotations

from collections.abc import Sequence

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


def check_template(template: str) -> None:
    """Check that a template has exactly one place for the class name.

    Raises:
        PromptError: it has none, so that all classes would have the same prompt, or several.
    """
    if template.count("{}") != 1:
        raise PromptError(
            f"the template {template!r} must hold {{}} once, where the class name stands"
        )


def fill(template: str, classname: str) -> str:
    """The prompt of a class: the template with its name in place of ``{}``."""
    return template.replace("{}", classname)


def templates_of(prompt: str | tuple[str, ...], count: int) -> tuple[str, ...]:
    """The templates of C classes, from one template or from C templates."""
    return (prompt,) * count if isinstance(prompt, str) else prompt


def filled(prompt: str | tuple[str, ...], classnames: Sequence[str]) -> list[str]:
    """The prompt of each of C classes, from one template or from C templates.

    Those of the classes may be whole prompts, without a place for the name.

    Raises:
        PromptError: one template for all classes does not hold ``{}`` once.
    """
    if isinstance(prompt, str):
        check_template(prompt)
    templates = templates_of(prompt, len(classnames))
    return [fill(template, name) for template, name in zip(templates, classnames, strict=True)]


def words_before(template: str) -> str:
    """The words before the class name, possibly ""."""
    return template.partition("{}")[0].strip()
