"""The former place of :class:`craft_zoo.protocol.tokens.TokenRule`."""

from craft_zoo.protocol.tokens import TokenRule

__all__ = ["TokenRule"]
