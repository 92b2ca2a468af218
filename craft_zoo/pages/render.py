"""Rendering of pages from Jinja templates with the shared style sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jinja2


def render(
    package: str,
    template: str,
    content: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """Text of a page; in HTML, all values are escaped unless a filter returns ``Markup``.

    Args:
        package: package that contains the template. The template may include ``head.html``, the
            start of a page with its title and the shared style sheet.
        template: its file name, which ends in ``.html`` for HTML.
        content: the template's variables.
        filters: further filters by name.
    """
    folders = [jinja2.PackageLoader(each, "") for each in (package, "craft_zoo.pages")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=template.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters or {}
    text = environment.get_template(template).render(content)
    # Undecodable bytes of a path are surrogates, which UTF-8 cannot encode.
    return text.encode("utf-8", "backslashreplace").decode()
