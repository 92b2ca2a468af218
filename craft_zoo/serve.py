"""The former name of :mod:`craft_zoo.server`, which scripts outside still import."""

import sys

import craft_zoo.server

sys.modules[__name__] = craft_zoo.server
