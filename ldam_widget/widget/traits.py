"""Live parameters as traits of the widget."""

from __future__ import annotations

from typing import Any

import traitlets

from ..parameters import Parameter
from ..schedules import PolynomialDecay


class UnknownParameterError(AttributeError, ValueError):
    """An attribute was set that the widget does not have."""


class Live(traitlets.TraitType[Any, Any]):
    """A live parameter as a trait that checks like the parameter itself, and tells what the sampler has now."""

    def __init__(self, parameter: Parameter, value: float) -> None:
        self._parameter = parameter
        super().__init__(default_value=value, help=parameter.help)

    def get(self, obj: Any, cls: Any = None) -> Any:
        # a schedule, a warm-up or a heat pulse moves a parameter without anybody setting it
        now = obj._present(self.name)
        return super().get(obj, cls) if now is None else now

    def validate(self, obj: Any, value: Any) -> float:
        with obj._changing:  # two threads that set different parameters must not lose either
            if self.name == "step_size" and isinstance(value, PolynomialDecay):
                obj._runner.set(step_size=value)
                return value.at(int(obj._runner.steps))
            number = self._parameter.check(value)
            if self.name is not None and obj._of_runner(self.name):
                # here and not in an observer: a number also replaces a schedule that happens to stand at this number
                obj._runner.set(**{self.name: number})
            return number
