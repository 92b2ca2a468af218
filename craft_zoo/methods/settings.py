"""Settings of methods by name: CraftConfig's fields and those that a method declares itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_type_hints

from craft_zoo.craft import CraftConfig
from craft_zoo.files import HashedPath
from craft_zoo.methods.registry import own_options
from craft_zoo.optimizers.option import Option, check_names


def setting_options() -> dict[str, Option]:
    """All settings with their types and defaults, by name.

    A setting that the method ``tip`` declares itself is called ``tip.SETTING``.
    """
    hints = get_type_hints(CraftConfig)
    shared = [Option(each.name, hints[each.name], each.default) for each in fields(CraftConfig)]
    return {option.name: option for option in shared if option.name != "own"} | own_options()


def read_settings(values: Mapping[str, Any], base: CraftConfig | None = None) -> CraftConfig:
    """A configuration from values by name, as text or of the setting's type.

    Args:
        values: settings that differ from ``base``.
        base: the configuration that they change; None: the default.

    Raises:
        OptimizerError: an unknown setting or a value of the wrong type.
        CraftZooError: a value out of range.
    """
    owner, known = "the method's configuration", setting_options()
    check_names(values, known, owner)
    read: dict[str, Any] = {}
    for name, value in values.items():
        read_value = known[name].convert if isinstance(value, str) else known[name].accept
        read[name] = read_value(value, owner)
    config = base or CraftConfig()
    own = dict(config.own) | {name: read.pop(name) for name in own_options() if name in read}
    return replace(config, own=without_defaults(own), **read)


def without_defaults(own: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """:attr:`CraftConfig.own` from values by ``METHOD.SETTING``: those that are no defaults."""
    known = own_options()
    # In records, paths with a hash are plain texts.
    files = {
        name: each.type for name, each in known.items() if isinstance(each.default, HashedPath)
    }
    read = {name: files[name](value) if name in files else value for name, value in own.items()}
    return tuple(
        (name, value)
        for name, value in sorted(read.items())
        if name not in known or value != known[name].default
    )
