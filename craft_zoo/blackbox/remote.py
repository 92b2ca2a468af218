"""The former name of :mod:`craft_zoo.client`, which scripts outside still import."""

import sys

import craft_zoo.client

sys.modules[__name__] = craft_zoo.client
