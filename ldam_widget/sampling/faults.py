"""Errors and notes about chains that fail."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from torch import Tensor

from ..core.target import NEURON, State, Target, weight_of
from ..network.memory import is_out_of_memory
from ..network.units import Neuron
from ..network.view import check_weights
from ..objectives.neuron import Neurons
from .fixed import Fixed
from .settings import Settings
from .warm_up import WarmUp

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Sampling")


class SamplingError(RuntimeError):
    """The run cannot continue from here; the sampler is at its last good picture and keeps its averages."""


class Sampling(Protocol):
    """What an error message needs to know of a run."""

    _settings: Settings

    @property
    def _chains(self) -> Any: ...


def explain_out_of_memory(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Turn out-of-memory errors into a SamplingError that states the sizes."""

    @functools.wraps(method)
    def explained(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            neurons = next((arg for arg in args if isinstance(arg, Neurons)), None) or self._chains.neurons
            fixed = self._settings.fixed
            rungs = f" × {fixed.rungs} rungs" if fixed.rungs > 1 else ""
            raise SamplingError(
                f"not enough memory on {fixed.device} for {len(neurons.neurons)} neurons × {fixed.chains} chains"
                f"{rungs} at once: choose fewer neurons or chains, or free memory and continue. "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from error

    return explained


def require_finite(state: State, neurons: Neurons, target: Target, settings: Settings) -> None:
    """Raise SamplingError, with the location, if an activation or gradient in use is NaN or infinite."""
    activation, grads = state.evaluation.values[NEURON], state.evaluation.grads
    # gradients too: a bad one spoils the next step, perhaps while the activation still looks fine
    used = {name: grad for name, grad in grads.items() if weight_of(settings.kernel, name, target) != 0}
    if math.isfinite(float(sum((grad.sum() for grad in used.values()), activation.sum()))):
        return  # the sum is NaN or infinite if any number is
    named = {name: "gradient of" if name == NEURON else f"gradient of {name} at" for name in used}
    for what, numbers in [("activation of", activation), *((named[name], grad) for name, grad in used.items())]:
        bad = ~numbers.flatten(1).isfinite() if numbers.ndim > 1 else ~numbers.isfinite()[:, None]
        if not bool(bad.any()):
            continue
        try:
            check_weights(settings.fixed.view)
        except ValueError as error:  # the user's own weights, or those of a training run that diverged
            raise SamplingError(str(error)) from None
        chain, place = (int(i) for i in bad.nonzero()[0])
        n, c = divmod(chain, settings.fixed.per_neuron)
        raise SamplingError(
            f"the {what} neuron {neurons.neurons[n].label} (chain {c // settings.fixed.rungs + 1}) became "
            f"{float(numbers[chain].flatten()[place])} at step {state.step}. Lower step_size, raise l2, or give a "
            "pixel_range; restart starts over."
        )


def tell_dead(dead: Tensor, neurons: Neurons, settings: Settings, starts: int) -> None:
    chains = dead.view(len(neurons.neurons), -1)
    labels = [n.label for n, row in zip(neurons.neurons, chains, strict=True) if bool(row.any())]
    listed = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
    again = f", even after {starts} other starts" if starts else ""
    settings.fixed.notes.tell(
        f"the gradient of neuron {listed} is exactly zero at the start of {int(dead.sum())} of {len(dead)} "
        f"chains{again} (a dead ReLU, or a saturated layer): noise and priors alone move "
        "them. leaky=0.1 lets a gradient through"
    )


def tell_rungs_in_heat(warm_up: WarmUp, settings: Settings) -> None:
    """Add a note if heat, or T = 0, kept the rungs of a ladder from being placed."""
    placement = warm_up.placement
    if placement is not None and placement.count < placement.length:
        settings.fixed.notes.tell(
            f"the ladder's rungs were placed in only {placement.count} of the {placement.length} steps of the warm-up, "
            "because there was heat, or no temperature, in the others: restart without"
        )


def tell_missed_goals(warm_up: WarmUp, neurons: Neurons, settings: Settings) -> None:
    """Add notes on goals that the warm-up missed or could not pursue."""
    notes = settings.fixed.notes
    if warm_up.goal is None:
        return
    if warm_up.pull is None:
        notes.tell(
            "the goal was not sought, because heat was on throughout the warm-up: set heat=1, then the goal again"
        )
        return
    settled = [] if warm_up.new is None else zip(neurons.neurons, warm_up.new.tolist(), strict=True)
    forget_missed_goals(settings.fixed, [neuron for neuron, new in settled if not new])
    for i, reached in warm_up.missed():
        goal = float(warm_up.goal[i])
        why = (
            "set a higher goal, or a longer warm_up (images may excite it more even without any pull)"
            if reached > goal
            else "set a lower goal, or a longer warm_up"
        )
        notes.tell(
            f"the goal {goal:.4g} was not met by neuron {neurons.neurons[i].label}, whose mean activation "
            f"was {reached:.4g} in the second half of the warm-up: {why}"
        )


def forget_missed_goals(fixed: Fixed, staying: Sequence[Neuron] = ()) -> None:
    """Remove notes about goals, except those of neurons that stay."""
    kept = [f"by neuron {neuron.label}, " for neuron in staying]
    for old in [n for n in fixed.notes if n.startswith("the goal ") and not any(words in n for words in kept)]:
        with contextlib.suppress(ValueError):  # another thread has already removed it
            fixed.notes.remove(old)
