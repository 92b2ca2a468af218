"""Settings of methods by name: CraftConfig's fields and those that a method declares itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_type_hints

from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.craft import CraftConfig
from craft_zoo.files import HashedPath
from craft_zoo.methods.registry import (
    CONVEX_SETTINGS,
    NETWORK_SETTINGS,
    REGISTRY,
    RegisteredMethod,
    find_method,
)
from craft_zoo.optimizers.option import Option, check_names

# Settings added after runs were stored, at the values that describe those runs. At these values,
# they are left out of a run's identity.
EARLIER_SETTINGS = {
    "template": DEFAULT_INIT,
    "discriminant": False,
    "initial_answer": False,
    "local": "",
    "prior": "uniform",
    "per_image": 0.0,
    "background": "",
}


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


def readers_of(setting: str, config: CraftConfig | None = None) -> list[str]:
    """Names of the methods whose result depends on a setting.

    Args:
        setting: its name.
        config: the other settings, which may select a refiner that does not read it; None: any.
    """
    REGISTRY.load()
    return [
        name
        for name, entry in REGISTRY.items.items()
        if setting in entry.own
        or (setting in entry.settings and not (config and setting in _idle(entry, config)))
    ]


def _idle(entry: RegisteredMethod, config: CraftConfig) -> frozenset[str]:
    """Settings of the refiner that ``config`` does not select."""
    if "refiner" not in entry.settings:
        return frozenset()
    return NETWORK_SETTINGS if config.refiner == "convex" else CONVEX_SETTINGS


def values_of(name: str, config: CraftConfig) -> dict[str, Any]:
    """Values of all settings that the method's result depends on, its own as ``METHOD.SETTING``.

    Settings of the refiner that ``config`` does not select are excluded.
    """
    used = find_method(name).settings - _idle(find_method(name), config)
    return {each: getattr(config, each) for each in sorted(used)} | own_settings(name, config)


def settings_of(name: str, config: CraftConfig) -> dict[str, Any]:
    """As :func:`values_of`, for a run's identity.

    Settings are excluded that have the values of before there was the setting
    (``EARLIER_SETTINGS``, :func:`earlier_own_settings`; other settings of a method's own: the
    default).
    """
    own = {key: option.default for key, option in find_method(name).own.items()}
    earlier = own | EARLIER_SETTINGS | earlier_own_settings(name)
    values = values_of(name, config).items()
    return {
        key: value.identity if isinstance(value, HashedPath) else value
        for key, value in values
        if key not in earlier or value != earlier[key]
    }


def own_settings(name: str, config: CraftConfig) -> dict[str, Any]:
    """Values of all settings that the method declares itself, by ``METHOD.SETTING``."""
    given = dict(config.own)
    return {key: given.get(key, option.default) for key, option in find_method(name).own.items()}


def earlier_own_settings(name: str) -> dict[str, Any]:
    """Values of the method's own settings that describe runs from before it had them.

    It is empty for unknown methods, as of a plug-in that is not installed.
    """
    REGISTRY.load()
    return REGISTRY.items[name].earlier if name in REGISTRY.items else {}


def own_options() -> dict[str, Option]:
    """Settings that methods declare themselves, by ``METHOD.SETTING``."""
    REGISTRY.load()
    return {name: each for entry in REGISTRY.items.values() for name, each in entry.own.items()}
