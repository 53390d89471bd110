"""The code blocks of a page of documentation."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^( *)(`{3,})(.*?)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_EXCUSED = re.compile(r"^# not run by the tests: (\S.{10,})$", re.MULTILINE)


class Block(NamedTuple):
    page: Path
    line: int  # of its first line of code, from 1
    language: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def excuse(self) -> str | None:
        """Why it is not run; a comment in it says so, to readers, too."""
        found = _EXCUSED.search(self.code)
        return found[1] if found else None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start(4)) + 1, found[3].strip(), textwrap.dedent(found[4]))
        for found in _FENCED.finditer(text)
    ]


def pages() -> list[Path]:
    """README.md and the pages of the site, but for the reference, which has the code of docstrings."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
