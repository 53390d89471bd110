"""Remarks for the user: what was handled for them that they will want to know."""

from __future__ import annotations

import warnings


class LDAMWarning(UserWarning):
    """Something was handled for the user that they will want to know."""


class Notes(list[str]):
    """Remarks for the user: shown in the panel, and given once as a Python warning."""

    def tell(self, message: str) -> None:
        if message not in self:
            self.append(message)
            warnings.warn(message, LDAMWarning, stacklevel=4)


class QuietNotes(Notes):
    """Remarks for the panel alone."""

    def tell(self, message: str) -> None:
        if message not in self:
            self.append(message)
