"""Live parameters as traits of the widget."""

from __future__ import annotations

from typing import Any

import traitlets

from ..core.parameters import GOAL, Parameter
from ..core.schedules import PolynomialDecay


class UnknownParameterError(AttributeError, ValueError):
    """An attribute was set that the widget does not have."""


class WidgetSettings(traitlets.TraitType[Any, Any]):
    """What a widget is set to, as its page and marimo's cells may read it: {"layer": …, "neurons": […], "params": {…}}.

    marimo runs the cells that read a widget's value when its page saves another one. Saving is all that is needed: what
    is saved is not taken over, as changes travel by messages.
    """

    def __init__(self) -> None:
        super().__init__(default_value=None, allow_none=True, read_only=True)
        self.tag(sync=True, echo_update=False)

    def get(self, obj: Any, cls: Any = None) -> Any:
        return obj._what_is_set()

    def set(self, obj: Any, value: Any) -> None:
        """Nothing; by hand it cannot be set at all."""


class Live(traitlets.TraitType[Any, Any]):
    """A live parameter as a trait that checks like the parameter itself, and tells what the sampler has now."""

    def __init__(self, parameter: Parameter, value: float) -> None:
        self._parameter = parameter
        super().__init__(default_value=value, help=parameter.help)

    def get(self, obj: Any, cls: Any = None) -> Any:
        # a schedule, a warm-up or a heat pulse moves a parameter without anybody setting it
        now = obj._present(self.name)
        if self.name == GOAL.name and obj._running is not None:
            return obj._running.goal  # as it was asked for: a percentile, or None
        return super().get(obj, cls) if now is None else now

    def validate(self, obj: Any, value: Any) -> float | str | None:
        with obj._changing:  # two threads that set different parameters must not lose either
            if self.name == "step_size" and isinstance(value, PolynomialDecay):
                if not obj._is_set:
                    obj._runner.set(step_size=value)
                return value.at(int(obj._runner.steps))
            if self.name is not None and self.name.partition("@")[0] == GOAL.name:
                if not obj._is_set:
                    obj._runner.set(**{self.name: value})
                goal: float | str | None = obj.sampler.checked_goal(value)
                return goal
            number = self._parameter.check(value)
            if self.name is not None and obj._of_runner(self.name) and not obj._is_set:
                # here and not in an observer: a number also replaces a schedule that happens to stand at this number
                obj._runner.set(**{self.name: number})
            return number
