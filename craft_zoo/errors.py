"""The exception for everything that a user can mend, and what its sentences share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CraftZooError(ValueError):
    """Bad input, said in one sentence that names the thing and the mend.

    The command line prints the sentence without a traceback and exits with code 2.
    """


class PromptError(CraftZooError):
    """Class names or prompts that a model cannot be asked with: whoever asks can mend it."""


class CraftZooWarning(UserWarning):
    """One sentence on something that the user may want to change, where work goes on.

    The command line prints it on standard error as it prints errors.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name among those known that is nearest to a mistyped one, as a question; "" if none is.

    It ends with a space, so that a sentence can go on behind it.
    """
    lower = {each.lower(): each for each in known}
    similar = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[similar[0]]!r}? " if similar else ""
