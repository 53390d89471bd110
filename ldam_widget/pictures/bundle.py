"""The front end as `npm run build` makes it: a script and a style sheet, for widgets and for pages without a kernel."""

from __future__ import annotations

import functools
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"


@functools.cache
def read_bundle() -> tuple[str, str]:
    """Script and style sheet. Raises FileNotFoundError if they have not been built."""
    script, style = STATIC / "widget.js", STATIC / "widget.css"
    if not script.exists():
        raise FileNotFoundError(f"{script} is missing: build the front end with `pip install -e .`")
    return script.read_text(encoding="utf-8"), style.read_text(encoding="utf-8")
