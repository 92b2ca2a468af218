"""The former name of :mod:`craft_zoo.client`, which scripts outside this repository still import."""

import sys

import craft_zoo.client

sys.modules[__name__] = craft_zoo.client
