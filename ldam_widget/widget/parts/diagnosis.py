"""The line that says whether the chains can be trusted."""

from __future__ import annotations

from typing import Any

from ...sampling.sampler import Sampler
from .part import Host, Part
from .verdicts import Diagnosis


class DiagnosisLine(Part):
    """Sends a verdict every few seconds.

    Args:
        host: the panel.
        of: name of the model whose chains are judged, if there are several.
    """

    def __init__(self, host: Host, of: str = "") -> None:
        super().__init__(host)
        self._of = of
        self.newest: dict[str, Any] | None = None  # the last verdict on the present chains, as a message
        self.diagnosis = Diagnosis(self._send)
        self.diagnosis.restart()

    def on_new_chains(self) -> None:
        self.newest = None
        self.diagnosis.restart()

    def on_greeting(self) -> None:
        if self.newest is not None:
            self.host.post(self.newest)

    def on_frame(self) -> None:
        self.diagnosis.offer(self.host.sampler.recorded, self.host.sampler.burn_in_step)

    def _send(self, level: str, text: str, neurons: list[str]) -> None:
        """Called on the diagnosis thread."""
        sampler: Sampler = self.host.sampler
        labels = [neuron.label for neuron in sampler.neurons]
        if len(labels) == len(neurons):  # otherwise the neurons have changed meanwhile
            lines = [{"label": a, "text": b} for a, b in zip(labels, neurons, strict=True)]
            text = f"{self._of}: {text}" if self._of else text
            self.newest = {"kind": "diagnosis", "level": level, "text": text, "neurons": lines}
            self.host.post(self.newest)
