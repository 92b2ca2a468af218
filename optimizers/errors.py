"""OptimizerError, the exception of all optimizers for errors that users can correct."""


class OptimizerError(ValueError):
    """Invalid input to an optimizer; the message names the cause and the remedy."""
