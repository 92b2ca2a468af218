"""Pages: self-contained HTML with one style sheet, and the card of an adapter.

- :func:`render`: a page from a Jinja template, which may include ``head.html``
- :func:`write_card`: an adapter's model card; :func:`readme`: a short one for the hub, in Markdown
"""

from __future__ import annotations

from craft_zoo.pages.card import readme, write_card
from craft_zoo.pages.render import render

__all__ = ["readme", "render", "write_card"]
