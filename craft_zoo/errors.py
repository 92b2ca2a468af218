"""Exceptions for errors that a user can fix, and the warning class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from craft_zoo.optimizers.plugins import did_you_mean

__all__ = [
    "CraftZooError",
    "CraftZooWarning",
    "PromptError",
    "RefusedError",
    "UnavailableError",
    "check_kind",
    "did_you_mean",
    "needs_extra",
]


class CraftZooError(ValueError):
    """Bad input; the message is one sentence that names the fault and a remedy.

    The command line prints the message without a traceback and exits with code 2.
    """


class PromptError(CraftZooError):
    """Class names or prompts that a model cannot process, an error of the caller."""


class RefusedError(CraftZooError):
    """A service refused to answer all questions of a query."""


class UnavailableError(CraftZooError):
    """A service did not answer, although a request was sent several times.

    Attributes:
        billed: whether it may have answered an attempt, and billed it, nevertheless.
    """

    billed = False


class CraftZooWarning(UserWarning):
    """A warning in one sentence about something that the user may want to change.

    The command line prints it on standard error, in the same form as errors.
    """


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Say which extra is missing, if an import in the block fails.

    Args:
        extra: name of the extra in ``pip install 'craft-zoo[EXTRA]'``.
        what: what needs it, the subject of the sentence.

    Raises:
        CraftZooError: an import failed.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package == "craft_zoo":  # a fault of ours, which no package would mend
            raise
        lacks = f"needs the package {package}" if package else f"cannot load its package ({error})"
        raise CraftZooError(f"{what} {lacks}: pip install 'craft-zoo[{extra}]'") from None


def check_kind(name: str, value: object, kind: type, example: str) -> None:
    """Check that an argument has a type.

    Args:
        name: name of the argument.
        value: what was given.
        kind: the type.
        example: an expression that has the type.

    Raises:
        CraftZooError: it has another one.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise CraftZooError(
            f"{name} must be {article} {kind.__name__}, as in {example}, not {type(value).__name__}"
        )
