"""Live parameters: attributes of the widget, sliders of its panel."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ...core.parameters import GOAL, Parameter
from ...core.schedules import PolynomialDecay
from .. import protocol
from .part import Host, Part

_OF_PICTURE = {"display_scale", "display_base", "chains_shown", "slice"}  # shown at once, even while paused
_OTHER_WORDS = ("neurons", "layer", "kernel", "prior")  # suggested for misspelt names


class UnknownParameterError(AttributeError, ValueError):
    """An attribute was set that the widget does not have."""


class Sliders(Part):
    """Live parameters, validated before they are set; reading returns the sampler's present values.

    Args:
        host: the panel.
        own: parameters of the panel that the sampler does not have.
        notify: called with name, old and new value after a change that was requested.
    """

    def __init__(
        self, host: Host, own: Callable[[], Iterable[Parameter]], notify: Callable[[str, Any, Any], None]
    ) -> None:
        super().__init__(host)
        self._own, self._notify = own, notify
        self._lock = threading.RLock()  # two threads that set different parameters must not lose either change
        self._declared: dict[str, Parameter] = {}
        self._values: dict[str, Any] = {}  # as last requested
        self._names: set[str] = set()  # including parameters of previous kernels
        self.is_closed = False
        self.declare()

    def declare(self, *, keep_defaults: bool = True) -> None:
        """Replace the declarations with the present parameters; those of a previous kernel become unknown.

        Args:
            keep_defaults: whether a reset returns to the same values as before; False: to the present values.
        """
        runner = self.host.runner
        with self._lock:
            now, params = (*runner.parameters, *self._own()), runner.params
            homes = {name: p.default for name, p in self._declared.items()} if keep_defaults else {}
            # a reset returns to what the widget started with: no declaration depends on the network
            homes = {p.name: homes.get(p.name, params.get(p.name, p.default)) for p in now}
            # former parameters keep their values: another thread may be reading them
            self._values |= {p.name: params.get(p.name, self._values.get(p.name, p.default)) for p in now}
            self._declared = {p.name: p._replace(default=homes[p.name]) for p in now}
            self._names.update(self._declared)

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __getitem__(self, name: str) -> Parameter:
        """A parameter's declaration."""
        return self._declared[name]

    def was(self, name: str) -> bool:
        """Whether there is, or ever was, such a parameter."""
        return name in self._names

    # ---- reading ---------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Any:
        """The present value of a parameter: a schedule, a warm-up or a heat pulse changes it without it being set."""
        if self.is_closed:
            return self._values[name]
        runner = self.host.runner
        if name == GOAL.name:
            return runner.goal  # as requested: a percentile, or None
        now = runner.params.get(name)
        return self._values[name] if now is None else now

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name."""
        now = self.host.runner.params
        return {name: now.get(name, self._values[name]) for name in self.shown()}

    def shown(self) -> list[str]:
        """Names of the parameters that have a slider."""
        return list(self._declared)

    # ---- setting, from any thread ----------------------------------------------------------------------------------

    def set(self, params: Mapping[str, Any], *, tell: bool = True) -> None:
        """Change several at once, all or none.

        Args:
            params: by name.
            tell: send the new state to the page.

        Raises:
            UnknownParameterError, ValueError, TypeError: as `Sampler.set`.
        """
        for name, value in params.items():
            self._check(name, value)
        with self._lock:
            runner = self.host.runner
            of_runner = {name: value for name, value in params.items() if self.is_of_runner(name)}
            if of_runner:
                runner.set(**of_runner)
            changes = [(name, self._values[name], self._as_asked(name, value)) for name, value in params.items()]
            self._values |= {name: new for name, _, new in changes}
        self.on_change(frozenset(params))
        if tell:
            self.host.post_state()
        for name, old, new in changes:
            if old != new:
                self._notify(name, old, new)

    def is_of_runner(self, name: str) -> bool:
        """Whether a parameter belongs to the runner rather than to the picture alone."""
        return name in self.host.runner.params

    def on_change(self, names: frozenset[str]) -> None:
        """React to parameters that were set."""
        if not self.host.loop.playing and any(name.partition("@")[0] in _OF_PICTURE for name in names):
            self.host.loop.show()

    def _check(self, name: str, value: Any) -> None:
        if name not in self._declared:
            raise self.unknown(name)
        has_rule = isinstance(value, PolynomialDecay) or name.partition("@")[0] == GOAL.name
        if not (has_rule and self.is_of_runner(name)):  # these are checked by the sampler
            self._declared[name].check(value)

    def _as_asked(self, name: str, value: Any) -> Any:
        if isinstance(value, PolynomialDecay):
            return value.at(int(self.host.runner.steps))
        if name.partition("@")[0] == GOAL.name:
            return self.host.sampler.checked_goal(value)
        return self._declared[name].check(value)

    def unknown(self, name: str) -> UnknownParameterError:
        """The error for a name that is not a parameter."""
        known = list(self._declared)
        near = difflib.get_close_matches(name, [*known, *_OTHER_WORDS], n=2)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        if name == "slice":
            hint = " (only volumes, with input_shape=(channels, depth, height, width), have slices)"
        return UnknownParameterError(f"unknown parameter {name!r}{hint}; known are: {', '.join(known)}")

    # ---- the page --------------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        return {"parameters": [protocol.parameter(self._declared[name]) for name in self.shown()]}

    def state(self) -> dict[str, Any]:
        return {"params": self.params}

    def set_from_page(self, params: Mapping[str, Any]) -> None:
        """Apply slider values one by one; errors are shown in the banner."""
        for name, value in params.items():
            if name in self._declared:  # a page of another version may have other sliders
                try:
                    self.set({name: self._declared[name].check(value)}, tell=False)
                except Exception as error:  # out of range, or raised by a user's observer
                    self.host.report(error)

    def close(self) -> None:
        self._values |= {name: self.get(name) for name in self._declared}
        self.is_closed = True
