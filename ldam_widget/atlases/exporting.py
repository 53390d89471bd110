"""An atlas as a folder of files that any web server serves, without a kernel."""

from __future__ import annotations

import html
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ..pictures.bundle import read_bundle
from . import folder
from .layout import block_name
from .pages import Pages

INDEX, PAGE = "atlas.json", "index.html"
_MARK = '<meta name="generator" content="ldam-widget atlas">'

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{mark}
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="widget.css">
<style>
html {{ --ldam-at-height: calc(100vh - 12px); }}
body {{ margin: 4px; font-family: system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee; }} }}
</style>
</head>
<body>
<main id="place">
<p>This page needs JavaScript and a web server. In this folder, run <code>python -m http.server</code> and open
<a href="http://localhost:8000/">http://localhost:8000/</a>.</p>
</main>
<script type="module">
import {{ browse }} from "./widget.js";
browse(document.getElementById("place"));
</script>
</body>
</html>
"""


def export_folder(pages: Pages, out: str | os.PathLike[str]) -> Path:
    """Write the page, the front end, and all sheets and numbers of what is rendered so far.

    Args:
        pages: what to show.
        out: a new or empty folder, or an earlier export, which is replaced.

    Returns:
        Path of the page.

    Raises:
        ValueError: the folder holds something else.
        OSError: it cannot be written.
    """
    script, style = read_bundle()
    where = Path(out)
    _make_room(where, pages)
    page = where / PAGE
    page.write_text(_PAGE.format(title=html.escape(pages.title), mark=_MARK), encoding="utf-8")
    damaged = set()
    for number, (name, atlas) in enumerate(pages.atlases.items()):
        for layer in atlas.layers.values():
            for block in pages.blocks(name, layer.name):
                try:
                    files = {
                        file: folder.load_file(atlas.path, layer, block.number, block.done, file)
                        for kind in pages.kinds(layer)
                        for file in layer.sheets[kind].files
                    }
                    folder.load_numbers(atlas.path, layer, block.number, block.done)
                except ValueError:
                    damaged.add((name, layer.name, block.number))
                    continue
                home = where / str(number) / layer.folder / block_name(block.number)
                home.mkdir(parents=True, exist_ok=True)
                for file, content in files.items():
                    (home / file).write_bytes(content)
    whole = pages._replace(left_out=damaged)
    for number, (name, atlas) in enumerate(pages.atlases.items()):
        for layer in atlas.layers.values():
            home = where / str(number) / layer.folder
            home.mkdir(parents=True, exist_ok=True)
            (home / "table.json").write_text(_dump(whole.table(name, layer.name)), encoding="utf-8")
    (where / "widget.js").write_text(script, encoding="utf-8")
    (where / "widget.css").write_text(style, encoding="utf-8")
    (where / INDEX).write_text(_dump(whole.overview()), encoding="utf-8")  # last: the page reads it first
    return page


def _make_room(where: Path, pages: Pages) -> None:
    """Remove an earlier export; refuse to touch anything else."""
    for atlas in pages.atlases.values():
        own, out = atlas.path.resolve(), where.resolve()
        if own == out or own in out.parents or out in own.parents:
            raise ValueError(f"{where} and the atlas {atlas.path} lie in each other; export to another folder")
    if where.exists() and not where.is_dir():
        raise ValueError(f"{where} is a file; name a folder to export to")
    where.mkdir(parents=True, exist_ok=True)
    if not any(where.iterdir()):
        return
    page = where / PAGE
    if not page.is_file() or _MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"{where} holds other files and no earlier export; name a new or an empty folder")
    (where / INDEX).unlink(missing_ok=True)  # first: a page that is half removed shows nothing
    for name in ("0", "1"):
        shutil.rmtree(where / name, ignore_errors=True)


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
