"""Notes on the model, and the error banner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .part import Action, Part


class Notices(Part):
    """Notes and the error banner; the last error is kept until it is dismissed or play is pressed."""

    error: dict[str, str] | None = None

    def setup(self) -> dict[str, Any]:
        return {"notes": self.notes(), "error": self.error}

    def notes(self) -> list[str]:
        """Notes on the sampler."""
        return list(self.host.sampler.notes)

    def show(self, error: dict[str, str] | None) -> None:
        """Show a message and a hint; None removes the banner."""
        self.error = error
        self.host.post({"kind": "error", "error": self.error})

    def immediate_actions(self) -> Mapping[str, Action]:
        return {"dismiss_error": lambda: self.show(None)}
