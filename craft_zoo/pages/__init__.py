"""Self-contained HTML pages: their style sheet and rendering, and the card of an adapter.

- :func:`render`: a page from a Jinja template, which may include ``head.html``
- :func:`write_card`: an adapter's model card
"""

from __future__ import annotations

from craft_zoo.pages.card import write_card
from craft_zoo.pages.render import render

__all__ = ["render", "write_card"]
