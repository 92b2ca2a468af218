"""Hook of MkDocs: Sphinx's roles in docstrings, as in :func:`minimize`, become plain code."""

import re
from typing import Any

_ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|exc):\s*<code>([^<]*)</code>")
_BLOCK = re.compile(r"::(</p>\s*<div)")  # the colons that announce a code block in docstrings


def on_page_content(html: str, **_: Any) -> str:
    """The page's HTML without roles; a leading ~ stands for the last part of the name."""
    plain = _ROLE.sub(lambda found: f"<code>{_shown(found[1])}</code>", html)
    return _BLOCK.sub(r":\1", plain)


def _shown(name: str) -> str:
    return name.rpartition(".")[2] if name.startswith("~") else name
