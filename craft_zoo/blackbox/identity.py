"""Comparison of a model with the one that bore its name before."""

from __future__ import annotations

from collections.abc import Mapping

from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the values in two of :meth:`VLM.identity` that are known and differ."""
    return [name for name in then if name in now and then[name] != now[name]]


def other_model(
    name: str, then: Mapping[str, str], now: Mapping[str, str], when: str, mend: str
) -> str | None:
    """The sentence that an address or a file has another model than before; None: it has not.

    Args:
        name: the model's name.
        then: its :meth:`VLM.identity` at an earlier time.
        now: its present one.
        when: that time in words, for the message.
        mend: what to do if it is another model.
    """
    values = [f"{key} {printable(then[key])} then, {now[key]} now" for key in differing(then, now)]
    if not values:
        return None
    return (
        f"{name} is another model than when {when}, or answers in another form "
        f"({', '.join(values)}): {mend}"
    )


def check_described(
    name: str, then: Mapping[str, str], now: Mapping[str, str], when: str, mend: str
) -> None:
    """Check that an address or a file has the same model as before; see :func:`other_model`.

    Raises:
        CraftZooError: it is another model.
    """
    if said := other_model(name, then, now, when, mend):
        raise CraftZooError(said)
