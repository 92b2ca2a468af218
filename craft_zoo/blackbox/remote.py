"""Alias of :mod:`craft_zoo.client` under its former name, for external scripts."""

import sys

import craft_zoo.client

sys.modules[__name__] = craft_zoo.client
