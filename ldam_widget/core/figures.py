"""Figures without pyplot."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class PaperFigure(Figure):
    """A figure that notebooks show without pyplot, and that no window or global list references."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()
