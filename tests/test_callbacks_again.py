"""Callbacks in trainings that come one after another, and where no optimiser can be observed."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import ldam_widget as ldam
from ldam_widget import LDAMWarning, Watch

from .test_callbacks import SETTINGS, STEPS, Bits, Callback, LightningLoop, network, stand_in


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    stand_in(monkeypatch, "lightning.pytorch", Callback=Callback)
    made = ldam.callbacks.lightning(**SETTINGS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LDAMWarning)
        yield made
    if made.widget is not None:
        made.widget.close()


def test_a_second_training_of_a_model_goes_on_in_its_widget(callback: Any) -> None:
    """It has an optimiser of its own."""
    loop, net = LightningLoop([callback]), network()
    loop.fit(net, Bits())
    first, before = callback.widget, loop.optimizers[0]
    loop.fit(net, Bits())
    assert callback.widget is first
    assert (first.iteration, first.kept[-1]) == (2 * STEPS, 2 * STEPS)
    assert not before._optimizer_step_post_hooks
    assert not loop.optimizers[0]._optimizer_step_post_hooks
    before.step()
    assert first.iteration == 2 * STEPS


@pytest.mark.parametrize("why", ["another model", "closed", "broken"])
def test_a_second_training_that_needs_a_widget_of_its_own(callback: Any, why: str) -> None:
    loop, net = LightningLoop([callback]), network()
    loop.fit(net, Bits())
    first: Watch = callback.widget
    if why == "another model":
        net = network()
    if why == "closed":
        first.close()
    if why == "broken":
        weight = net[1].weight  # type: ignore[index]
        net[1].weight = torch.nn.Parameter(torch.zeros(7, 16))  # type: ignore[index]
        first.update()
        with pytest.warns(LDAMWarning, match="watching stopped"):
            first.update()
        net[1].weight = weight  # type: ignore[index]
    loop.fit(net, Bits())
    second = callback.widget
    assert second is not first
    assert second.iteration == STEPS
    second.step(1)
    assert torch.equal(second.sampler.view[1].weight, net[1].weight)  # type: ignore[index]
    first.close()


def test_batches_are_counted_where_there_is_no_optimiser(callback: Any) -> None:
    class Manual(LightningLoop):
        """The module makes its optimisers by itself."""

        def _call(self, hook: str, *arguments: Any) -> None:
            own, self.optimizers = self.optimizers, []
            super()._call(hook, *arguments)
            self.optimizers = own

    Manual([callback]).fit(network(), Bits())
    assert (callback.widget.iteration, callback.widget.kept) == (STEPS, [0, 2, 4, 6])


@pytest.mark.parametrize("optimizer", [None, types.SimpleNamespace(step=lambda: None)])
def test_accelerate_says_that_steps_cannot_be_observed(optimizer: Any) -> None:
    main = types.SimpleNamespace(is_main_process=True)
    watching = ldam.callbacks.accelerate(main, network(), optimizer, **SETTINGS)
    with pytest.warns(LDAMWarning, match=r"cannot be observed: call update\(\)"):
        watched = watching.__enter__()
    assert watched is not None
    watched.update()
    watching.__exit__(None, None, None)
    assert watched.iteration == 1
    watched.close()
