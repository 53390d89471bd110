"""Notes on several models."""

from __future__ import annotations

from ....sampling.comparison import Comparison
from ..notices import Notices


class ComparedNotices(Notices):
    """Notes prefixed with the models they apply to, unless they apply to all."""

    def notes(self) -> list[str]:
        comparison = self.host.runner
        assert isinstance(comparison, Comparison)
        on: dict[str, list[str]] = {}
        for name, sampler in zip(comparison.names, comparison.samplers, strict=True):
            for note in sampler.notes:
                on.setdefault(note, []).append(name)
        everyone = len(comparison.names)
        return [note if len(names) == everyone else f"{', '.join(names)}: {note}" for note, names in on.items()]
