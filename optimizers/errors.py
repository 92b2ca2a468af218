"""The optimizers' exception for what a user can mend."""


class OptimizerError(ValueError):
    """Bad input to an optimizer, said in one sentence that names the thing and the mend."""
