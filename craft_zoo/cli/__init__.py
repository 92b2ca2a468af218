"""The ``craft-zoo`` command.

- :func:`main`: what the installed script calls
"""

from craft_zoo.cli.main import main

__all__ = ["main"]
