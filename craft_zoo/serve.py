"""Alias of :mod:`craft_zoo.server`, its former name, for existing scripts."""

import sys

import craft_zoo.server

sys.modules[__name__] = craft_zoo.server
