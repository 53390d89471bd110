"""Kernel, prior, temperature and scales: what is sampled, and how exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...core.target import Kernel
from ...parametrizations import Natural
from ...sampling.defaults import KERNELS, looks_like_photographs
from ...sampling.sampler import Sampler
from ..protocol import Content, plain, text
from .part import Action, Command, Host, Part


class Law(Part):
    """Selectors for kernel and prior, the note on the law, the thermometer, and the scales."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._natural = host.runner.prior  # the last one used, for switching back from pixels
        self._told = self._settled

    # ---- changes, on the loop --------------------------------------------------------------------------------------

    def use_kernel(self, kernel: Kernel | str) -> None:
        """Switch to another kernel."""
        self.host.runner.use_kernel(kernel)
        self.host.redeclare()
        self.host.begin_anew()

    def use_prior(self, prior: Any) -> None:
        """Switch to another prior; "natural" is the one last used, if any."""
        again = isinstance(prior, str) and prior == "natural" and self._natural is not None
        self.host.runner.use_prior(self._natural if again else prior)
        self._natural = self.host.runner.prior or self._natural
        self.host.redeclare(keep_defaults=False)
        self.host.begin_anew()

    # ---- the page --------------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        sampler = self.host.sampler
        kernel = {
            "name": sampler.kernel.name,
            "note": sampler.kernel_note,
            "calibrated": sampler.has_law,
            "choices": list(KERNELS),
        }
        return {"kernel": kernel, "prior": prior_choices(sampler, self._natural)}

    def state(self) -> dict[str, Any]:
        sampler = self.host.sampler
        return {
            "kernel_note": sampler.kernel_note,
            "calibrated": sampler.has_law,
            "scales": sampler.scales,
            "warming": sampler.warming_up,
            "goal": sampler.goal if isinstance(sampler.goal, str) else None,
        }

    def gauges(self) -> dict[str, Any]:
        sampler = self.host.sampler
        acceptance = sampler.acceptance
        return {
            "temperature": {
                "asked": sampler.temperature_asked,
                "measured": [plain(value) for value in sampler.measured_temperature],
            },
            "acceptance": None if acceptance is None else [plain(value) for value in acceptance.mean(1)],
            "execution": sampler.execution_report,
        }

    def actions(self) -> Mapping[str, Action]:
        runner = self.host.runner
        return {"heat": runner.heat_pulse, "measure_scales": runner.measure_scales}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"select": self._read_selection}

    def _read_selection(self, content: Content) -> Command | None:
        kernel, prior = text(content, "kernel"), text(content, "prior")
        if kernel is not None:
            return Command(lambda: self.use_kernel(kernel))
        return None if prior is None else Command(lambda: self.use_prior(prior))

    # ---- changes that happen by themselves -------------------------------------------------------------------------

    @property
    def _settled(self) -> tuple[bool, bool]:
        """What changes without being set: the end of a warm-up, and of a heat pulse."""
        return self.host.sampler.warming_up, self.host.sampler.heating

    def on_new_chains(self) -> None:
        self._told = self._settled

    def on_frame(self) -> None:
        settled = self._settled
        if settled != self._told:
            self._told = settled
            self.host.post_state()


def prior_choices(sampler: Sampler, natural: Natural | None) -> dict[str, Any] | None:
    """The prior in use and the alternatives, as pairs of a value and its text; None if there is no choice.

    Args:
        sampler: the sampler whose prior is shown.
        natural: the prior meant by "natural"; None: one that would have to be measured, or none.
    """
    if natural is not None:
        source = natural.source
    elif sampler.dataset is not None:
        source = f"{len(sampler.dataset)} images"
    elif looks_like_photographs(sampler.input_shape):
        source = "photographs"
    else:
        return None
    return {
        "name": "pixels" if sampler.prior is None else "natural",
        "choices": [["natural", f"natural: {source}"], ["pixels", "pixels"]],
    }
