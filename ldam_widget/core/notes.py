"""Notes for the user about anything that was handled automatically."""

from __future__ import annotations

import warnings


class LDAMWarning(UserWarning):
    """Something was handled automatically that the user should know about."""


class Notes(list[str]):
    """Notes for the user: shown in the panel, and raised once as a Python warning."""

    def tell(self, message: str) -> None:
        if message not in self:
            self.append(message)
            warnings.warn(message, LDAMWarning, stacklevel=4)


class QuietNotes(Notes):
    """Notes shown in the panel only."""

    def tell(self, message: str) -> None:
        if message not in self:
            self.append(message)
