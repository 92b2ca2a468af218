"""The one exception for everything that a user can mend."""


class CraftZooError(ValueError):
    """Bad input, said in one sentence that names the thing and the mend.

    The command line prints the sentence without a traceback and exits with code 2.
    """
