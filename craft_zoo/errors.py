"""Exceptions for errors that a user can fix, and the warning class."""

from __future__ import annotations

from craft_zoo.optimizers.plugins import did_you_mean

__all__ = ["CraftZooError", "CraftZooWarning", "PromptError", "did_you_mean"]


class CraftZooError(ValueError):
    """Bad input; the message is one sentence that names the fault and a remedy.

    The command line prints the message without a traceback and exits with code 2.
    """


class PromptError(CraftZooError):
    """Class names or prompts that a model cannot process, an error of the caller."""


class CraftZooWarning(UserWarning):
    """A warning in one sentence about something that the user may want to change.

    The command line prints it on standard error, in the same form as errors.
    """
