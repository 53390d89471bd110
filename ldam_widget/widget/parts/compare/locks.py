"""One slider for all models, or one per model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ....core.parameters import GOAL, Parameter
from ....sampling.comparison import Comparison
from ...protocol import Content, flag, text
from ..part import Command, Host
from ..sliders import Sliders


class ComparedSliders(Sliders):
    """Sliders of several models; a freed parameter can still be set for all at once, without a slider.

    Arguments as for `Sliders`.
    """

    def __init__(
        self, host: Host, own: Callable[[], Iterable[Parameter]], notify: Callable[[str, Any, Any], None]
    ) -> None:
        super().__init__(host, lambda: (*self._freed(), *own()), notify)

    @property
    def _comparison(self) -> Comparison:
        runner = self.host.runner
        assert isinstance(runner, Comparison)
        return runner

    def _freed(self) -> Iterable[Parameter]:
        comparison = self._comparison
        return (p for p in comparison.lead.parameters if p.name in comparison.freed)

    def get(self, name: str) -> Any:
        if not self.is_closed and name != GOAL.name and name in self._comparison.freed:
            return self.host.sampler.params[name]
        return super().get(name)

    def shown(self) -> list[str]:
        freed = self._comparison.freed
        return [name for name in self if name not in freed]

    def is_of_runner(self, name: str) -> bool:
        return super().is_of_runner(name) or name in self._comparison.freed

    def on_change(self, names: frozenset[str]) -> None:
        super().on_change(names)
        if names & self._comparison.freed:
            self.declare()  # the parameters that changed have other names
            self.host.loop.submit(self.host.show_still)

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def lock(self, name: str, locked: bool) -> None:
        """Use one value for all models, or one per model."""
        (self._comparison.lock if locked else self._comparison.free)(name)
        self.renew()

    def renew(self) -> None:
        """Parameters were freed, locked or set outside this part."""
        self.declare()
        self.host.post_setup()
        self.host.show_still()  # contrast may have changed, which must show at once even while paused

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return super().state() | {"locks": self._comparison.locks}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"lock": self._read_lock}

    def _read_lock(self, content: Content) -> Command | None:
        name, locked = text(content, "name"), flag(content, "locked")
        return None if name is None or locked is None else Command(lambda: self.lock(name, locked))
