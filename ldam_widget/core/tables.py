"""Results that print as tables and behave as mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import Any

Row = tuple[str, ...]


class Table:
    """Prints as a table, as text and in a notebook."""

    def table(self) -> tuple[Row, list[Row]]:
        """Header and rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        head, rows = self.table()
        return as_text([head, *rows])

    def _repr_html_(self) -> str:
        head, rows = self.table()
        return as_html([head, *rows])


class Record(Mapping[str, Any]):
    """Lets frozen dataclasses (with eq=False) act as mappings of their public fields."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._names():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def to_dict(self) -> dict[str, Any]:
        """As a plain dict; nested records become dicts too."""
        return {name: value.to_dict() if isinstance(value, Record) else value for name, value in self.items()}

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls) if not field.name.startswith("_")]  # type: ignore[arg-type]


def as_text(rows: Sequence[Row]) -> str:
    """Rows under a header, the last column right-aligned."""
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    ruled = [rows[0], tuple("-" * w for w in width), *rows[1:]]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row[:-1], width, strict=False)), row[-1].rjust(width[-1])])
        for row in ruled
    )


def as_html(rows: Sequence[Row]) -> str:
    """Rows under a header; every cell is escaped as plain text."""
    head, *body = (
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>"


def number(value: float | None) -> str:
    """Three significant figures; "–" if unknown."""
    return "–" if value is None or value != value else f"{value:.3g}"
