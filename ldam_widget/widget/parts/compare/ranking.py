"""The most changed neurons of a whole layer, found between pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....analysis.ranking import Ranking, by_change
from ....diagnostics.agreement import AgreementTable
from ....sampling.comparison import Comparison
from ... import protocol
from ..part import Action, Part

_MOST = 1000  # neurons sent to a page; more would not be read


class Changes(Part):
    """Ranks a layer as a chore of the loop, and lists the finished neurons."""

    _ranking: Ranking | None = None

    @property
    def running(self) -> bool:
        """Whether the layer is being ranked."""
        return self._ranking is not None and self.host.loop.chore is not None

    @property
    def done(self) -> AgreementTable:
        """Neurons finished so far, the most changed first."""
        return by_change([] if self._ranking is None else self._ranking.done)

    def keep(self, ranking: Ranking) -> None:
        """Take over a ranking that runs elsewhere, so that what it has finished can be read even if it is stopped."""
        if self.running:
            self.stop()  # or the chore would work on the new one too
        self._ranking = ranking

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start from scratch."""
        runner = self.host.runner
        assert isinstance(runner, Comparison)
        self._ranking = Ranking(runner)
        self.host.loop.chore = self._work
        self._send()
        self.host.post_state()

    def stop(self) -> None:
        """Stop, keeping the neurons finished so far."""
        self.host.loop.chore = None
        self._send()
        self.host.post_state()

    def _work(self) -> None:
        """Process one unit."""
        ranking, loop = self._ranking, self.host.loop
        if ranking is None:
            return
        try:
            done = ranking.work()
            if loop.closed:
                return  # closed during a long unit: no view is left to notify
            if done and ranking.finished:
                self.stop()
            elif done:
                self._send()
        except Exception as error:
            if loop.closed:
                return
            self.stop()
            self.host.report(error)

    def _send(self) -> None:
        ranking = self._ranking
        if ranking is None:
            return
        rows = self.done
        self.host.post(
            {
                "kind": "changes",
                "layer": ranking.layer,
                "done": len(rows),
                "total": ranking.total,
                "running": self.host.loop.chore is not None,
                "error": "",
                "rows": protocol.agreement(rows[:_MOST]),
            }
        )

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {"scanning": self.running}

    def actions(self) -> Mapping[str, Action]:
        return {"scan": self._on_button, "stop_scan": self.stop}

    def _on_button(self) -> None:
        """Start, unless the layer is being ranked: a press that arrives late must not throw its results away."""
        if not self.running:
            self.start()

    def on_greeting(self) -> None:
        self._send()

    def close(self) -> None:
        self._ranking = None
