"""Make the pictures of the gallery from its own code: `python -m docs.tools.gallery`. A few minutes on one core.

Runs the code blocks of docs/gallery.md and saves what they have written as WebP, which is a fraction of the size.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageSequence

from tests.documents.blocks import ROOT, blocks_of

FOLDER = ROOT / "docs" / "assets" / "gallery"
WIDEST = 1000  # px


def small(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    if picture.width <= WIDEST:
        return picture
    return picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    scope: dict[str, Any] = {"torch": torch}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for block in blocks_of(ROOT / "docs" / "gallery.md"):
            if block.language == "python":
                exec(compile("\n" * (block.line - 1) + block.code, block.place, "exec"), scope)
        for made in sorted(Path().iterdir()):
            file = FOLDER / f"{made.stem}.webp"
            with Image.open(made) as picture:
                first, *others = [small(each) for each in ImageSequence.Iterator(picture)]
            options = {"append_images": others, "duration": 83, "loop": 0, "save_all": True} if others else {}
            first.save(file, "WEBP", quality=60, method=6, **options)
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1e3:.0f} kB", flush=True)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
