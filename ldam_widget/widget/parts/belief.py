"""The line that says how far the pictures can be believed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from ...diagnostics.belief import Belief
from ...sampling.belief.assessment import Assessment
from .part import Action, Host, Part

SHARE = 0.2  # fraction of the time between frames that an assessment nobody asked for may take
_TOLD_EVERY = 1.0  # seconds between two reports of progress


class Checked:
    """An assessment in progress, which a caller on another thread can wait for.

    Args:
        assessment: begun.
        step: of the chains when it began.
        asked: whether somebody asked for it.
    """

    def __init__(self, assessment: Assessment, step: int, *, asked: bool) -> None:
        self.assessment, self.asked = assessment, asked
        self.began, self.spent = time.monotonic(), 0.0  # seconds
        self.step = step
        self.over = threading.Event()
        self.error: BaseException | None = None

    def wait(self) -> Belief:
        """The result. Raises what the assessment raised, and RuntimeError if it was stopped."""
        self.over.wait()
        if self.error is not None:
            raise self.error
        return self.assessment.result


class BeliefLine(Part):
    """Assesses the pictures: at once when asked to, as a chore of the loop; else slowly, once they have burned in.

    Args:
        host: the panel.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._arguments: dict[str, Any] = {}  # of the last request, for the button
        self._checked: Checked | None = None
        self._told = 0.0

    @property
    def running(self) -> bool:
        """Whether an assessment is in progress."""
        return self._checked is not None and not self._checked.over.is_set()

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def start(self, **arguments: Any) -> Checked:
        """Begin at once; arguments and errors as `Sampler.belief`. RuntimeError while something else is going on."""
        loop = self.host.loop
        if loop.chore is not None and loop.chore != self._work:
            raise RuntimeError("the discriminator is being trained; stop_training() first")
        arguments = {name: value for name, value in arguments.items() if value is not None}
        assessment = Assessment(self.host.sampler, **arguments)
        self._end()
        self._arguments, self._checked = arguments, Checked(assessment, self.host.sampler.steps, asked=True)
        loop.chore = self._work
        self.host.post_state()
        return self._checked

    def stop(self) -> None:
        """Stop; what has been found so far stays on display."""
        self._end()
        self.host.post_state()

    def _end(self) -> None:
        checked = self._checked
        if self.host.loop.chore == self._work:
            self.host.loop.chore = None
        if checked is not None and not checked.over.is_set():
            checked.error = RuntimeError("belief() was stopped before it had finished")
            checked.over.set()

    def _work(self) -> None:
        """One unit."""
        checked = self._checked
        if checked is None or checked.over.is_set():
            return
        began = time.monotonic()
        try:
            another = checked.assessment.work()
        except BaseException as error:  # also a model that calls sys.exit(): whoever waits must be told
            self._end()
            checked.error = error
            another = True
        now = time.monotonic()
        checked.spent += now - began
        if checked.assessment.finished and checked.error is None:
            checked.over.set()
            if self.host.loop.chore == self._work:
                self.host.loop.chore = None
        if checked.over.is_set() or (another and now - self._told > _TOLD_EVERY):
            self._told = now
            if not self.host.loop.closed:
                self.host.post_state()

    def on_frame(self) -> None:
        checked, sampler, loop = self._checked, self.host.sampler, self.host.loop
        if checked is None:
            if sampler.dataset is not None and loop.chore is None and sampler.burn_in_step is not None:
                self._checked = Checked(Assessment(sampler, **self._arguments), sampler.steps, asked=False)
        elif checked.asked:
            if self.running and loop.chore != self._work:  # a training has taken its place
                self.stop()
        elif self.running and checked.spent < SHARE * (time.monotonic() - checked.began):
            self._work()

    def on_new_chains(self) -> None:
        self._end()
        self._checked = None

    def close(self) -> None:
        self._end()

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        checked = self._checked
        line: dict[str, Any] = {"running": self.running, "level": "wait", "text": "belief: not checked", "neurons": []}
        if checked is None and self.host.sampler.dataset is None:
            line["text"] += ", which needs real images: dataset= or belief(images)"
        if checked is not None:
            found = checked.assessment.result
            line["level"], text = found.verdict.level, found.verdict.text
            if checked.over.is_set() and not checked.assessment.finished:
                line["level"], text = "wait", str(checked.error)
            line["text"] = f"belief at step {checked.step:,}: {text}"
            line["neurons"] = [{"label": each.label, "text": each.text} for each in found.neurons]
        return {"belief": line}

    def actions(self) -> Mapping[str, Action]:
        return {"belief": self._on_button, "stop_belief": self.stop}

    def _on_button(self) -> None:
        """Begin, unless a check that somebody asked for is in progress: a press that arrives late must not end it."""
        if self._checked is None or not (self.running and self._checked.asked and self.host.loop.chore == self._work):
            self.start(**self._arguments)
