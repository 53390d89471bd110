"""`Comparison`: the same neurons of several models, sampled in lockstep with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ..core.parameters import Parameter, check_all
from ..core.target import Kernel
from ..diagnostics.agreement import AgreementTable, agreement_of
from ..diagnostics.belief import Belief
from ..network.addresses import module_names
from ..network.trace import Preprocess
from ..network.units import Neuron
from ..objectives.columns import home_layer, listed
from ..parametrizations import Natural
from . import checks
from .arguments import SharedArguments, completed_by
from .belief.assessment import STEPS
from .heat import HeatPulse
from .in_step import InStep
from .models import check_params, checked_names, measured, naming, paired
from .priors import resolved
from .sampler import Sampler
from .starts import Start

_TOGETHER = frozenset({"steps_per_frame"})  # must be shared, or the models fall out of step


class Comparison:
    """Samples the same neurons of two to six models with common random numbers.

    All models have the same start images and the same noise, so that differences come from the weights alone. Two equal
    models give equal chains, bit for bit on one device.

    Args:
        models: name -> model; the first is the reference for the others. Weights are shared, not copied.
        layer: for all models, or name -> layer if architectures differ.
        neurons: as for `Sampler`, in the first model. In the others, neurons are matched by class name if both models
            have names, else by index.
        preprocess, class_names: for all models, or a dict by model name.
        **settings: as for `Sampler`, for all models, with the same defaults.

    Raises:
        ValueError, TypeError: as `Sampler`, naming the model; fewer than two or more than six models; models that
            lack a layer or a class.
    """

    @completed_by(Sampler.__init__)
    def __init__(
        self,
        models: Mapping[str, nn.Module],
        *,
        layer: str | Mapping[str, str] | None = None,
        neurons: Iterable[Any] | None = None,
        preprocess: Preprocess | Mapping[str, Preprocess] | None = None,
        class_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        **settings: Unpack[SharedArguments],
    ) -> None:
        self.names = checked_names(models)
        self._models = {name: models[name] for name in self.names}
        class_names = class_names if isinstance(class_names, Mapping) else checks.class_names(class_names)
        self._each = [
            {"preprocess": p, "class_names": c}
            for p, c in zip(
                self._per_model("preprocess", preprocess), self._per_model("class_names", class_names), strict=True
            )
        ]
        self._settings: dict[str, Any] = dict(settings)
        if "regularizers" in settings:  # an iterator would be exhausted by the first model
            self._settings |= {"regularizers": checks.regularizers(settings["regularizers"])}
        if "input_shape" in settings:  # otherwise the first sampler reports it as missing
            self._settings |= measured(dict(settings))
        layers = self._per_model("layer", layer)
        first, wanted = self._read(layers[0], neurons)
        layers = [first if own is None else own for own in layers]
        self.samplers: list[Sampler] = []
        for index, name in enumerate(self.names):
            with naming(name):
                chosen = wanted if index == 0 else self._paired(index, wanted)
                self.samplers.append(self._sampler(index, layers[index], chosen))
        self._freed: set[str] = set()
        self._in_step = InStep(self.samplers)

    def _sampler(self, index: int, layer: str | None, neurons: list[Any] | None, **settings: Any) -> Sampler:
        settings = self._settings | self._each[index] | settings
        if index and settings.get("device") is None:
            settings["device"] = self.samplers[0].device  # random numbers depend on the device type
        return Sampler(self._models[self.names[index]], layer=layer, neurons=neurons, **settings)

    def _read(
        self, layer: str | None, neurons: Iterable[Any] | None, *, chosen: bool = False
    ) -> tuple[str | None, list[Any] | None]:
        """Layer and neurons of the first model, as `home_layer`."""
        model, names = self._models[self.names[0]], self._each[0]["class_names"]
        layers = module_names(model) if isinstance(model, nn.Module) else ()
        return home_layer(layer, listed(neurons), checks.class_names(names) or (), layers, chosen=chosen)

    def _per_model(self, argument: str, value: Any) -> list[Any]:
        if not isinstance(value, Mapping):
            return [value] * len(self.names)
        if set(value) - set(self.names):
            unknown = ", ".join(sorted(map(repr, set(value) - set(self.names))))
            raise ValueError(f"{argument} names {unknown}; the models are {', '.join(map(repr, self.names))}")
        return [value.get(name) for name in self.names]

    # ---- what is sampled -------------------------------------------------------------------------------------------

    @property
    def lead(self) -> Sampler:
        """The first model's sampler, the reference for the others."""
        return self.samplers[0]

    @property
    def layers(self) -> dict[str, str]:
        """The sampled layer of every model."""
        return {name: sampler.layer for name, sampler in zip(self.names, self.samplers, strict=True)}

    @property
    def neurons(self) -> list[Neuron]:
        """The neurons, named as in the first model."""
        return self.lead.neurons

    def _paired(self, index: int, wanted: list[Any] | None) -> list[Any]:
        """The neurons of another model that correspond to those of the first."""
        return paired(self.lead, wanted, self._each[index]["class_names"])

    def select(
        self,
        layer: str | Mapping[str, str] | None = None,
        neurons: Iterable[Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Switch all models to other neurons; arguments as in the constructor, otherwise like `Sampler.select`.

        If chains cannot continue in all models, they restart in all.

        Raises:
            ValueError, SamplingError: as the constructor; all models then keep their previous neurons.
        """
        layers = self._per_model("layer", layer)
        if layers[0] in (None, self.lead.layer):
            neurons = self.lead.recalled(neurons)
        first, wanted = self._read(layers[0], neurons, chosen=True)
        if not isinstance(layer, Mapping):
            layers = [first] * len(self.names)
        present = self.layers.values()
        if wanted is None and all(new in (None, old) for new, old in zip(layers, present, strict=True)):
            return

        def select() -> None:
            for index, (name, sampler) in enumerate(zip(self.names, self.samplers, strict=True)):
                with naming(name):
                    if index == 0 and wanted is None and first in (None, sampler.layer):
                        sampler.restart()  # another model changed its layer: all restart
                    elif index == 0:
                        sampler.select(first, wanted, names)
                    else:
                        sampler.select(layers[index], self._paired(index, wanted), names)
            if len({sampler.steps for sampler in self.samplers}) > 1:  # chains continue in all models or in none
                self._for_each(Sampler.restart)

        self._all_or_none(select)
        self._freed.intersection_update(self.locks)  # others may have no interpolation

    # ---- parameters ------------------------------------------------------------------------------------------------

    @property
    def freed(self) -> frozenset[str]:
        """Parameters with a separate value for every model."""
        return frozenset(self._freed)

    @property
    def locks(self) -> dict[str, bool]:
        """Parameter -> whether all models share one value. Parameters that must be shared are left out."""
        return {p.name: p.name not in self._freed for p in self.lead.parameters if p.name not in _TOGETHER}

    def free(self, name: str) -> None:
        """Give every model its own value of a parameter, named ``step_size@0``, ``step_size@1``, ….

        Raises:
            ValueError: there is no such parameter, or it must be shared.
        """
        if name not in self.locks:
            raise ValueError(f"{name!r} cannot be freed; known are: {', '.join(self.locks)}")
        self._freed.add(name)

    def lock(self, name: str) -> None:
        """Share one value again, that of the first model. Raises ValueError as `free`."""
        if name not in self.locks:
            raise ValueError(f"{name!r} cannot be locked; known are: {', '.join(self.locks)}")
        self._freed.discard(name)
        self.set(**{name: self.lead.params[name]})

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Declarations of all live parameters; one per model for a freed parameter."""
        found: list[Parameter] = []
        for parameter in self.lead.parameters:
            if parameter.name not in self._freed:
                found.append(parameter)
                continue
            words = parameter.describe()["label"]
            for index, name in enumerate(self.names):
                found.append(parameter._replace(name=f"{parameter.name}@{index}", label=f"{words}, {name}"))
        return tuple(found)

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name."""
        of = self._in_step.params()
        found = {}
        for parameter in self.parameters:
            name, _, index = parameter.name.partition("@")
            found[parameter.name] = of[int(index or 0)][name]
        return found

    def set(self, **params: Any) -> None:
        """Change live parameters, all or none of them. A plain name changes all models, whether freed or not.

        Raises:
            ValueError, TypeError: as `Sampler.set`.
        """
        changes: list[dict[str, Any]] = [{} for _ in self.samplers]
        known = {parameter.name for parameter in self.parameters} | self._freed
        for name, value in params.items():
            plain, at, index = name.partition("@")
            if name not in known:
                check_all(self.parameters, {name: value})  # its error lists the known names
            for change in [changes[int(index)]] if at else changes:
                change[plain] = value
        for sampler, change in zip(self.samplers, changes, strict=True):
            check_params(sampler, change)
        self._in_step.set(changes)

    def set_for(self, model: str, **params: Any) -> None:
        """Change live parameters of one model, which frees them. Raises as `free` and `set`."""
        if model not in self.names:
            raise ValueError(f"unknown model {model!r}; the models are {', '.join(map(repr, self.names))}")
        checked = check_all(self.lead.parameters, params)
        before = set(self._freed)
        try:
            for name in checked:
                self.free(name)
            self.set(**{f"{name}@{self.names.index(model)}": value for name, value in checked.items()})
        except Exception:
            self._freed = before
            raise

    def use_kernel(self, kernel: Kernel | str, scale: Literal["none", "frozen"] | None = None) -> None:
        """Switch all models to another kernel with the same parameters; see `Sampler.use_kernel`."""
        self._all_or_none(lambda: self._for_each(lambda sampler: sampler.use_kernel(kernel, scale)))
        self._freed.intersection_update(self.locks)

    @property
    def prior(self) -> Natural | None:
        """The natural prior in use, shared by all models; None for plain pixels."""
        return self.lead.prior

    @property
    def goal(self) -> float | str | None:
        """As `Sampler.goal`, for the first model."""
        return self.lead.goal

    def use_prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        """Switch all models to another prior; see `Sampler.use_prior`."""
        lead = self.lead
        found = resolved(prior, lead.input_shape, lead.pixel_range, lead.dataset, lead.kernel)
        self._all_or_none(lambda: self._for_each(lambda sampler: sampler.use_prior(found)))
        self._settings = self._settings | {"prior": found}
        self._freed.intersection_update(self.locks)

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """As `Sampler.heat_pulse`, for all models."""
        self._in_step.move(lambda: self._for_each(lambda sampler: sampler.heat_pulse(pulse)))

    def measure_scales(self) -> None:
        """As `Sampler.measure_scales`, for all models: each is divided by its own gradient norms."""
        self._in_step.move(lambda: self._for_each(Sampler.measure_scales))

    def _for_each(self, change: Callable[[Sampler], object]) -> None:
        for name, sampler in zip(self.names, self.samplers, strict=True):
            with naming(name):
                change(sampler)

    def _all_or_none(self, change: Callable[[], object]) -> None:
        """Apply a change to all models; if it fails for one, undo it for all.

        A sampler that restarts or changes its kernel replaces attributes and does not modify them, so a shallow copy of
        its attributes captures its state. (`Sampler.set` does not: it sets the time of a running average.)
        """

        def changed() -> None:
            before = [dict(vars(sampler)) for sampler in self.samplers]
            try:
                change()
            except BaseException:
                for sampler, old in zip(self.samplers, before, strict=True):
                    vars(sampler).update(old)  # in one call: another thread may be reading
                raise

        self._in_step.move(changed)

    # ---- running ---------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Steps since the last restart that all models have completed."""
        return min(sampler.steps for sampler in self.samplers)

    @property
    def device(self) -> torch.device:
        return self.lead.device

    def step(self, n: int = 1) -> None:
        """Advance all models n ≥ 1 steps.

        Raises:
            SamplingError: one model failed and stays where it was; the next call brings it level with the others.
            ValueError, TypeError: n is not a positive integer.
        """
        goal = self.steps + checks.count("n", n)
        while (now := self.steps) < goal:
            self._level(min(goal, now + int(self.lead.params["steps_per_frame"])))

    def _level(self, goal: int) -> None:
        """Advance all models to step `goal`."""
        self._in_step.move(lambda: self._for_each(lambda s: s.step(goal - s.steps) if goal > s.steps else None))

    def restart(self, seed: int | None = None, start: Start | None = None) -> None:
        """Restart all models with the same new start images; see `Sampler.restart`."""
        self._all_or_none(lambda: self._for_each(lambda sampler: sampler.restart(seed, start)))
        if start is not None:
            self._settings = self._settings | {"start": start}

    def reset_average(self) -> None:
        """Discard the averages; the chains continue."""
        self._in_step.move(lambda: self._for_each(Sampler.reset_average))

    # ---- results ---------------------------------------------------------------------------------------------------

    @property
    def average_images(self) -> Tensor:
        """Averages over time and chains, (models, N, *input_shape) on the CPU."""
        return torch.stack([sampler.average_images.mean(1).cpu() for sampler in self.samplers])

    @property
    def difference_images(self) -> Tensor:
        """Averages of the other models minus those of the first, (models − 1, N, *input_shape)."""
        averages = self.average_images
        return averages[1:] - averages[:1]

    @property
    def difference(self) -> Tensor:
        """Mean absolute pixel difference of the averages, (N,); with more than two models, averaged over them."""
        return self.difference_images.abs().flatten(2).mean(2).mean(0)

    @property
    def activation(self) -> Tensor:
        """Activations of the current samples, (models, N, chains) on the CPU."""
        return torch.stack([sampler.activation.cpu() for sampler in self.samplers])

    def agreement(self) -> AgreementTable:
        """How well the models agree, per neuron."""
        return agreement_of(self.labels, self.average_images, self.activation.mean(2))

    @property
    def labels(self) -> list[tuple[str, str]]:
        """Key and name of every neuron, in the first model."""
        return [(neuron.key, neuron.name or neuron.written) for neuron in self.neurons]

    def belief(
        self,
        images: Any = None,
        *,
        judge: nn.Module | None = None,
        judge_preprocess: Preprocess | None = None,
        steps: int = STEPS,
        seed: int = 0,
    ) -> dict[str, Belief]:
        """How far the pictures of each model can be believed, by name; arguments and errors as `Sampler.belief`."""
        found = {}
        for name, sampler in zip(self.names, self.samplers, strict=True):
            with naming(name):
                found[name] = sampler.belief(
                    images, judge=judge, judge_preprocess=judge_preprocess, steps=steps, seed=seed
                )
        return found

    def fresh(self, neurons: Sequence[Any], **settings: Any) -> Comparison:
        """The same models, layers and parameters from scratch, for other neurons and with other settings.

        Heat pulses are not carried over.
        """
        other = object.__new__(Comparison)
        other.names, other._models, other._each = self.names, self._models, self._each
        other._settings = self._settings | {"seed": self.lead.seed} | settings
        other.samplers, other._freed = [], set(self._freed)
        wanted = list(neurons)
        for index, (name, sampler) in enumerate(zip(self.names, self.samplers, strict=True)):
            with naming(name):
                chosen = wanted if index == 0 else other._paired(index, wanted)
                new = other._sampler(
                    index, sampler.layer, chosen, kernel=sampler.kernel, scale=sampler.scale, goal=sampler.goal
                )
                own = {field.name for field in fields(sampler.kernel)} | set(settings)  # type: ignore[arg-type]  # dataclasses
                own |= {"goal"} if sampler.goal is None else {"goal", "temperature"}  # T is found again for a goal
                if sampler.heating:
                    own.add("heat")
                own.update(sampler.params.keys() - new.params.keys())  # the interpolation of other neurons
                new.set(**{parameter: value for parameter, value in sampler.params.items() if parameter not in own})
            other.samplers.append(new)
        other._in_step = InStep(other.samplers)
        return other
