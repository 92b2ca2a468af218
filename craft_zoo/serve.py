"""Alias of :mod:`craft_zoo.server` under its former name, for external scripts."""

import sys

import craft_zoo.server

sys.modules[__name__] = craft_zoo.server
