"""``python -m craft_zoo``: the ``craft-zoo`` command."""

import sys

from craft_zoo.cli import main

sys.exit(main())
