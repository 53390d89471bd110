"""How far the chains can be trusted: numbers, and a verdict in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .mixing import Array, mixing
from .projections import principal, switches
from .results import ProjectionReport, Report, Samples, Verdict

R_HAT_LIMIT = 1.05  # above it the chains have not converged to the same distribution
TOO_WARM = 0.1  # tolerated relative deviation of the measured temperature from the requested one
ESS_WANTED = 100  # effective samples below which neither R-hat nor averages are reliable
STILL = 50  # draws at one value after which an activation counts as never changing


def report(samples: Samples) -> Report:
    """R-hat, ESS and autocorrelation time of activation and projections, and the resulting verdicts."""
    draws, neurons, chains = samples.activation.shape if samples.activation.ndim == 3 else (0, 0, 0)
    steps = int(samples.steps[-1] - samples.steps[0]) if draws > 1 else 0
    spacing = steps / (draws - 1) if draws > 1 else np.nan  # steps between two draws
    activation = mixing(samples.activation)
    if draws >= 8 and len(samples.thumbnails) >= 8:
        directions = principal(samples.thumbnails)
        folded = directions.transpose(0, 1, 3, 2).reshape(len(directions), -1, chains)
        found = {name: value.reshape(neurons, -1) for name, value in mixing(folded).items()}
        crossed = switches(directions[..., 0]) / chains / max(steps, 1) * 1000
    else:
        found = {"ess": np.full((neurons, 3), np.nan), "r_hat": np.full((neurons, 3), np.nan)}
        crossed = np.full(neurons, np.nan)
    ratios = samples.ratios if len(samples.ratios) == neurons else [np.nan] * neurons
    pictures = samples.thumbnails if len(samples.thumbnails) else np.empty((0, neurons, chains, 0))
    faults = [fault(samples.activation[:, n], pictures[:, n]) for n in range(neurons)]
    verdicts = [
        Verdict("warn", broken) if broken else verdict(ess, r_hat, projected, chains, samples.burned_in, ratio)
        for broken, ess, r_hat, projected, ratio in zip(
            faults, activation["ess"], activation["r_hat"], found["r_hat"], ratios, strict=True
        )
    ]
    spent = steps * chains
    with np.errstate(divide="ignore", invalid="ignore"):
        per_gradient = activation["ess"] / spent
        per_second = activation["ess"] / (steps * samples.seconds_per_step)
    return Report(
        ess=activation["ess"].tolist(),
        r_hat=activation["r_hat"].tolist(),
        autocorrelation_time=(activation["autocorrelation_time"] * spacing).tolist(),
        ess_per_second=per_second.tolist(),
        ess_per_gradient=per_gradient.tolist(),
        mode_switches=crossed.tolist(),
        projections=ProjectionReport(found["ess"].tolist(), found["r_hat"].tolist()),
        verdict=overall(verdicts, faults, activation["r_hat"], found["r_hat"], chains, ratios),
        verdicts=[one.text for one in verdicts],
        levels=[one.level for one in verdicts],
    )


def fault(activation: npt.NDArray[Any], thumbnails: npt.NDArray[Any]) -> str | None:
    """Why the figures of one neuron are meaningless, in words; None: they are not.

    Args:
        activation: (draws, C).
        thumbnails: (snapshots, C, P).
    """
    if not np.isfinite(activation).all():
        return "the activation is NaN or infinite"
    if not np.isfinite(thumbnails).all():
        return "the pictures have pixels that are NaN or infinite"
    if len(activation) < STILL:
        return None
    chains = activation.shape[1]
    stuck = int((thumbnails == thumbnails[:1]).all((0, 2)).sum()) if len(thumbnails) >= 8 else 0
    if stuck:
        return f"the pictures never change{_in_some(stuck, chains)}: the chains stand still; try another step size"
    still = int((activation == activation[0]).all(0).sum())
    if still:
        return f"the activation never changes{_in_some(still, chains)}: the neuron is dead or saturated"
    return None


def _in_some(count: int, chains: int) -> str:
    return "" if count == chains else f" in {count} of {chains} chains"


def verdict(
    ess: float, r_hat: float, projections: Array, chains: int, burned_in: bool, ratio: float = np.nan
) -> Verdict:
    """The verdict on one neuron.

    Args:
        ess, r_hat: of the activation.
        projections: R-hat of each projection of the pictures.
        chains: number of chains.
        burned_in: whether all of them have burned in.
        ratio: temperature measured / requested; NaN: unknown, or the kernel guarantees none.
    """
    if not burned_in:
        return Verdict("wait", "burning in")
    if _departs(ratio):
        return Verdict("warn", f"runs at {ratio:.2f} of the requested temperature; {_remedy(ratio)}")
    if not (np.isfinite(ess) and np.isfinite(r_hat) and np.isfinite(projections).any()):
        return Verdict("wait", "too few pictures to tell")
    pictures = float(np.nanmax(projections))  # R-hat is undefined along directions in which pictures do not differ
    worst = max(r_hat, pictures)
    if chains == 1:
        if worst > R_HAT_LIMIT:
            return Verdict("warn", f"the chain still drifts: R-hat {worst:.2f} between its halves")
        return Verdict("good", f"steady: {ess:.0f} effective samples; only several chains can show several modes")
    if pictures > R_HAT_LIMIT and r_hat <= R_HAT_LIMIT:
        return Verdict("warn", f"several modes: same activation, different pictures (R-hat {pictures:.2f})")
    if worst > R_HAT_LIMIT:
        return Verdict("warn", f"chains disagree: R-hat {worst:.2f}, several modes or not yet mixed")
    if ess < ESS_WANTED:
        return Verdict("wait", f"{ess:.0f} effective samples so far")
    return Verdict("good", f"chains agree: R-hat {worst:.2f}, {ess:.0f} effective samples")


def _departs(ratio: float) -> bool:
    return abs(ratio - 1) > TOO_WARM  # False for NaN (unknown)


def _remedy(ratio: float) -> str:
    return "lower the step size" if ratio > 1 else "not in equilibrium yet"


def overall(
    verdicts: list[Verdict],
    faults: list[str | None],
    r_hat: Array,
    projections: Array,
    chains: int,
    ratios: Sequence[float] = (),
) -> Verdict:
    """The verdict on all neurons, in one line."""
    count = len(verdicts)
    broken = Counter(text for text in faults if text)
    if broken:
        text, those = broken.most_common(1)[0]
        return Verdict("warn", text if those == count else f"{those} of {count} neurons: {text}")
    if not count or all(one.level == "wait" for one in verdicts):
        return verdicts[0] if count else Verdict("wait", "too few pictures to tell")
    off = [ratio for ratio in ratios if _departs(ratio)]
    if off:
        worst = max(off, key=lambda ratio: abs(ratio - 1))
        who = "the samples" if len(off) == count else f"{len(off)} of {count} neurons"
        text = f"{who} run at {worst:.2f} of the requested temperature; {_remedy(worst)}"
        return Verdict("warn", text)
    bad = [i for i, one in enumerate(verdicts) if one.level == "warn"]
    if bad:
        worst = float(np.nanmax([np.nanmax(np.append(projections[i], r_hat[i])) for i in bad]))
        which = "" if len(bad) == count else f" for {len(bad)} of {count} neurons"
        if chains == 1:
            return Verdict("warn", f"the chains still drift{which}: R-hat up to {worst:.2f} between their halves")
        return Verdict(
            "warn",
            f"chains disagree{which}: R-hat {worst:.2f} over {chains} chains; apply heat, or take it as several modes",
        )
    waiting = sum(one.level == "wait" for one in verdicts)
    if waiting:
        return Verdict("wait", f"no disagreement so far; {waiting} of {count} neurons need more samples")
    if chains == 1:
        return Verdict("good", "steady; run several chains to see whether there are several modes")
    on = "" if count == 1 else f" on all {count} neurons"
    return Verdict("good", f"{chains} chains agree{on}: R-hat below {R_HAT_LIMIT}")
