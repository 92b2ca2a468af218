"""The exception for everything that a user can mend, and what its sentences share."""

from __future__ import annotations

from craft_zoo.optimizers.plugins import did_you_mean

__all__ = ["CraftZooError", "CraftZooWarning", "PromptError", "did_you_mean"]


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
