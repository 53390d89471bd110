"""Results of diagnostics: frozen dataclasses that also act as mappings and print as tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.tables import Record, Row, Table, number


class Samples(NamedTuple):
    """Input of a report: the chains since burn-in."""

    activation: npt.NDArray[np.float32]  # (draws, N, C)
    thumbnails: npt.NDArray[np.float32]  # (snapshots, N, C, P), over the same period
    steps: npt.NDArray[np.int64]  # (draws,)
    seconds_per_step: float
    burned_in: bool
    ratios: tuple[float, ...] | list[float] = ()  # temperature measured / requested, N; empty if none is guaranteed


@dataclass(frozen=True, eq=False)
class Verdict(Record):
    """One line for the panel."""

    level: str  # "good", "warn" or "wait"
    text: str


@dataclass(frozen=True, eq=False)
class ProjectionReport(Record):
    """Statistics of the pictures along their three directions of largest variance, N × 3."""

    ess: list[list[float]]
    r_hat: list[list[float]]


@dataclass(frozen=True, eq=False)
class TemperatureReport(Record):
    """Temperatures in units of the activation."""

    asked: float  # requested: T times heat; geometric mean over neurons where a goal determines T
    measured: list[float]  # by the virial, N
    ratio: list[float]  # measured / requested, N
    each: list[float]  # requested, N
    closed_form: float | None  # the kernel's temperature by its formula; None if it has none


@dataclass(frozen=True, eq=False)
class LadderReport(Record):
    """How copies of the chains travel a ladder; with rungs that are placed in a warm-up, since its end."""

    factors: list[list[float]]  # of T, N × rungs
    swap_acceptance: list[float]  # between neighbouring rungs, over all neurons; NaN if none was tried
    swap_acceptance_each: list[list[float]]  # the same for every neuron, N × (rungs − 1)
    arrivals: list[int]  # of another copy at the coldest rung, for every chain
    round_trips: list[int]  # of a copy from the coldest rung to the hottest and back, for every chain
    rounds: int  # of swaps, in each of which every second pair tries


@dataclass(frozen=True, eq=False, kw_only=True)
class Report(Record):
    """How well the chains mix. Lists of N numbers, one per neuron; NaN where there are too few pictures."""

    ess: list[float]  # effective samples, of the activation
    r_hat: list[float]  # of the activation
    autocorrelation_time: list[float]  # steps, of the activation
    ess_per_second: list[float]
    ess_per_gradient: list[float]
    mode_switches: list[float]  # crossings along the direction of largest variance, per 1000 steps and chain
    projections: ProjectionReport
    verdict: Verdict  # on all neurons
    verdicts: list[str]  # on each neuron
    levels: list[str]  # of these verdicts: "good", "warn" or "wait"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Diagnostics(Table, Report):
    """How far the chains can be trusted. Lists of N numbers, one per neuron; NaN where there are too few pictures."""

    neurons: list[str]  # labels
    temperature: TemperatureReport
    acceptance: list[list[float]] | None  # of proposals, (N, C); None for kernels that accept everything
    gradient_norm: dict[str, list[float]]  # term -> N numbers, for the current samples, unweighted
    spread: list[float]  # mean distance between chains, in pixel units
    scales: dict[str, list[float]] | None  # term -> N numbers; None without scales
    ladder: LadderReport | None  # None without a ladder
    _samples: Samples = field(repr=False)

    def table(self) -> tuple[Row, list[Row]]:
        """One row per neuron."""
        head = ("neuron", "R-hat", "effective samples", "T measured / asked", "verdict")
        columns = zip(self.neurons, self.r_hat, self.ess, self.temperature.ratio, self.verdicts, strict=True)
        rows: list[Row] = [(name, number(r), number(ess), number(ratio), said) for name, r, ess, ratio, said in columns]
        if self.ladder is None:
            return head, rows
        swaps = [
            f"{number(min(rates))} to {number(max(rates))} up to {factors[-1]:.3g} T"
            for rates, factors in zip(self.ladder.swap_acceptance_each, self.ladder.factors, strict=True)
        ]
        return (*head[:-1], "swaps", head[-1]), [(*r[:-1], each, r[-1]) for r, each in zip(rows, swaps, strict=True)]

    def to_arviz(self) -> Any:
        """The activations since burn-in as ArviZ data with the dimensions chain, draw and neuron.

        Raises:
            ImportError: ArviZ is not installed.
        """
        try:
            import arviz
        except ImportError as error:
            raise ImportError("to_arviz needs ArviZ: pip install arviz") from error
        draws = {"activation": self._samples.activation.transpose(2, 0, 1)}
        labels: dict[str, Any] = {"coords": {"neuron": self.neurons}, "dims": {"activation": ["neuron"]}}
        if hasattr(arviz, "InferenceData"):  # before version 1
            return arviz.from_dict(posterior=draws, **labels)
        return arviz.from_dict({"posterior": draws}, **labels)
