"""Models whose state, random numbers or mixing the first two passes on one image do not show."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)


class Base(nn.Module):
    """(N, 1, 6, 6) -> (N, 4), with something on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Linear(36, 8), nn.Linear(8, 4)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.between(self.stem(x.flatten(1)).tanh()))


def sample(model: nn.Module, **options: Any) -> ldam.Sampler:
    given = {"input_shape": SHAPE, "neurons": [0, 2], "chains": 2, "device": "cpu", "pixel_range": (0, 1)}
    return ldam.Sampler(model, **{**given, **options})


def alone(model: nn.Module, x: Tensor) -> Tensor:
    """What a copy of the user's model says of each image alone, (images, units)."""
    with torch.no_grad():
        return torch.cat([copy.deepcopy(model).eval()(image[None]) for image in x])


@contextmanager
def nothing_drawn() -> Iterator[None]:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]  # noqa: NPY002

    before = states()
    yield
    assert states() == before


# ---- random numbers that do not show ---------------------------------------------------------------------------------


class Unused(Base):
    def between(self, h: Tensor) -> Tensor:
        torch.rand(())
        return h


class Imperceptible(Base):
    def between(self, h: Tensor) -> Tensor:
        return h + 1e-8 * torch.randn_like(h)


class Seldom(Base):
    """Drops an image in a thousand."""

    def between(self, h: Tensor) -> Tensor:
        return h * (torch.rand(()) > 1e-3)


class SeedsOnce(Base):
    """A random projection that the first call makes."""

    def __init__(self) -> None:
        super().__init__()
        self.projection: Tensor | None = None

    def between(self, h: Tensor) -> Tensor:
        if self.projection is None:
            torch.manual_seed(0)
            self.projection = torch.randn(8, 8)
        return h @ self.projection


@pytest.mark.parametrize("kind", [Unused, Imperceptible, Seldom, SeedsOnce])
def test_numbers_that_do_not_show_are_not_the_users_either(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    with nothing_drawn():
        s = sample(model)
        s.step(4)
    assert not any("follow no exact law" in note for note in s.notes)


def test_dropout_in_a_network_with_small_outputs() -> None:
    class Small(Base):
        def forward(self, x: Tensor) -> Tensor:
            return 1e-6 * super().forward(F.dropout(x, 0.5))

    with nothing_drawn_by(Small) as model:
        s = sample(model)
    assert any("draws random numbers" in note for note in s.notes)
    assert not any("influence each other" in note for note in s.notes)


@contextmanager
def nothing_drawn_by(kind: type[nn.Module]) -> Iterator[nn.Module]:
    model = with_fixed_weights(kind)
    with nothing_drawn():
        yield model


class Interrupted(Base):
    """Moves all three generators, and is interrupted in its n-th pass."""

    left = 0

    def between(self, h: Tensor) -> Tensor:
        torch.manual_seed(0)
        np.random.rand()  # noqa: NPY002
        random.random()
        Interrupted.left -= 1
        if Interrupted.left == 0:
            raise KeyboardInterrupt
        return h


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupt_of_the_first_passes_leaves_the_random_numbers(at: int) -> None:
    with nothing_drawn_by(Interrupted) as model:
        Interrupted.left = at
        with pytest.raises(KeyboardInterrupt):
            sample(model)


def test_discriminators_do_not_draw_the_users_numbers() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(36, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.dropout(x.flatten(1), 0.5))

    net, model = with_fixed_weights(Dropping), with_fixed_weights(Base)
    with nothing_drawn():
        sample(model, regularizers=[ldam.Discriminator(net)]).step(4)


# ---- state that shows late -------------------------------------------------------------------------------------------


class Spiking(Base):
    """Fires once the membrane has gathered enough, at the fourth call."""

    membrane: Any = 0.0

    def between(self, h: Tensor) -> Tensor:
        self.membrane = self.membrane + torch.full_like(h, 0.3)
        return h + 10 * (self.membrane > 1).float()


class SpikingInAHelper(Base):
    """The same in a list, summed over images."""

    def __init__(self) -> None:
        super().__init__()
        self.past = [torch.zeros(8)]

    def between(self, h: Tensor) -> Tensor:
        self.past[0] = self.past[0] + 0.3
        return h + 10 * (self.past[0] > 1).float()


class Counting(Base):
    calls = 0

    def between(self, h: Tensor) -> Tensor:
        self.calls += 1
        return h if self.calls < 12 else -h


class Alternating(Base):
    """A flag that is back where it was after two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.flag = False

    def between(self, h: Tensor) -> Tensor:
        self.flag = not self.flag
        return h if self.flag else -h


@pytest.mark.parametrize("kind", [Spiking, SpikingInAHelper, Counting, Alternating])
def test_state_that_shows_later_is_the_users_in_every_pass(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    s = sample(model)
    s.step(20)
    for n, images in zip((0, 2), s.images, strict=True):
        torch.testing.assert_close(s.activation[n // 2], alone(model, images)[:, n], atol=1e-5, rtol=1e-4)


def test_what_is_only_left_behind_costs_nothing() -> None:
    """Such as the last attention map: no note, and the network can still be recorded."""

    class Keeping(Base):
        last: Tensor | None = None

        def __init__(self) -> None:
            super().__init__()
            self.last = torch.zeros(1)

        def between(self, h: Tensor) -> Tensor:
            self.last = h.softmax(1)
            return h

    s = sample(with_fixed_weights(Keeping))
    assert not s.notes
    assert not s._settings.fixed.view._forward_pre_hooks


# ---- images that influence each other --------------------------------------------------------------------------------


class Deviating(nn.Module):
    """A last channel of `joined` holds the standard deviation over the batch, as in discriminators of StyleGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.joined, self.fc = nn.Conv2d(1, 4, 3), nn.Identity(), nn.Linear(80, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        spread = h.std(0, correction=0).mean().expand(len(x), 1, 4, 4)
        return self.fc(self.joined(torch.cat([h, spread], 1)).flatten(1))


def test_units_selected_later_are_checked_too() -> None:
    s = sample(with_fixed_weights(Deviating), layer="joined", pixel_range=None)
    assert not any("influence each other" in note for note in s.notes)
    s.select(neurons=[0, 4])
    s.step(3)
    assert any("influence each other" in note for note in s.notes)
    assert s.activation[1].tolist() == [0.0, 0.0]


class Centred(Base):
    def between(self, h: Tensor) -> Tensor:
        return h + 3 * (h - h.mean(0))


class OneAtATime(Base):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise RuntimeError("one image at a time")
        return super().forward(x)


@pytest.mark.parametrize("kind", [Centred, OneAtATime])
@pytest.mark.parametrize("chains", [1, 2])
def test_real_images_are_ranked_one_by_one(kind: type[Base], chains: int) -> None:
    """By `standing` and `belief`; a single chain, too, says nothing of how real images fare in a batch."""
    own = torch.Generator().manual_seed(1)
    images = torch.rand(60, *SHAPE, generator=own) * torch.rand(60, 1, 1, 1, generator=own)
    model = with_fixed_weights(kind)
    s = sample(model, dataset=images, prior=None, chains=chains, warm_up=3)
    real = alone(model, images)[:, [0, 2]]
    s.step(5)
    shares = [100 * float((real[:, i] < s.activation.mean(1)[i]).float().mean()) for i in (0, 1)]
    for share, words in zip(shares, s.standing() or [], strict=True):
        assert f"{share:.1f} %" in words or share == 100
    found = s.belief(steps=2)
    for share, each in zip(shares, found.neurons, strict=True):
        assert each.percentile == pytest.approx(share)
        assert each.silent == 0.0


# ---- several rows per image ------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """Frames (T, C, H, W), pooled to (image · frame, channel, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(2, 5, 3), nn.AdaptiveAvgPool2d(1)
        self.score, self.fc = nn.Linear(5, 1), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.conv(x.flatten(0, 1)).relu())
        return self.fc(self.score(h.flatten(1)).view(len(x), 3))


@pytest.mark.parametrize(
    ("layer", "listed", "units", "neuron", "place"),
    [("pool", (3, 5, 1, 1), 5, (4, 2, 0, 0), (2, 4, 0, 0)), ("score", (3, 1), 1, (0, 1), (1, 0))],
)
@pytest.mark.parametrize("chains", [1, 2])
def test_rows_that_are_pooled_to_a_point(
    layer: str, listed: tuple[int, ...], units: int, neuron: Any, place: tuple[int, ...], chains: int
) -> None:
    model = with_fixed_weights(Pooled)
    rows = [row for row in ldam.layers(model, (3, 2, 6, 6)) if row.name == layer]
    assert [(row.shape, row.units) for row in rows] == [(listed, units)]
    s = sample(model, input_shape=(3, 2, 6, 6), layer=layer, neurons=[neuron], chains=chains)
    s.step(3)
    for x, activation in zip(s.images[0], s.activation[0], strict=True):
        found: Callable[..., Any] = ldam.activations(model, x[None], [layer])[layer]
        assert float(activation) == pytest.approx(float(found[place]), abs=1e-5)


# ---- hooks, modes ----------------------------------------------------------------------------------------------------


def limit(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
    """Leaves the first image alone, and most others."""
    if float(output.abs().max()) > 100:
        return output.clamp(-100, 100)
    return None


class Limit:
    def __call__(self, *call: Any) -> Tensor | None:
        output = limit(*call)
        if output is None:
            return None
        return output


@pytest.mark.parametrize("hook", [limit, Limit()], ids=["function", "object"])
def test_hooks_that_change_some_outputs_are_run(hook: Any) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))
    model[1].register_forward_hook(hook)
    s = sample(model, start=1e4 * torch.ones(2, *SHAPE), pixel_range=None, prior=None)
    assert s.activation.abs().tolist() == [[100.0, 100.0]] * 2


@pytest.mark.parametrize("execution", ["plain", "auto"])
def test_the_callers_autocast_is_not_ours(execution: str) -> None:
    model = with_fixed_weights(Base)
    with torch.autocast("cpu", torch.bfloat16):
        inside = sample(model, execution=execution)
        inside.step(4)
        assert torch.is_autocast_enabled("cpu")
    outside = sample(model, execution=execution)
    outside.step(4)
    torch.testing.assert_close(inside.images, outside.images)
    torch.testing.assert_close(inside.activation, outside.activation)


def test_a_layer_that_the_first_call_makes() -> None:
    class Late(Base):
        def between(self, h: Tensor) -> Tensor:
            if not hasattr(self, "late"):
                self.late = nn.Linear(8, 8)
            return self.late(h)

    model = with_fixed_weights(Late)
    with (
        pytest.warns(ldam.LDAMWarning, match="weights that its first call makes, call it once before"),
        nothing_drawn(),
    ):
        sample(model)
    assert not hasattr(model, "late")
    model(torch.zeros(1, *SHAPE))
    assert not sample(model).notes


def test_a_model_made_in_inference_mode_is_refused_with_the_reason() -> None:
    with torch.inference_mode():
        model = with_fixed_weights(Base)
    with pytest.raises(ValueError, match=r"'stem.weight' was made under torch.inference_mode"):
        sample(model)
    model = with_fixed_weights(Base)
    with torch.inference_mode():
        sample(model).step(3)


@pytest.mark.parametrize("where", ["closure", "global", "object"])
def test_hooks_that_collect_fill_no_memory(where: str) -> None:
    """Not even in copies of ours: every output would keep its whole pass alive."""

    inside: list[Tensor] = []
    holder = Collector()
    hooks: dict[str, Any] = {
        "closure": lambda *call: inside.append(call[2]),
        "global": lambda *call: COLLECTED.append(call[2]),
        "object": holder.collect,
    }
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 7)))
    model[1].register_forward_hook(hooks[where])
    s = sample(model, execution="plain")
    before = alive()
    s.step(20)
    assert alive() <= before + 2
    assert not inside
    assert not COLLECTED
    assert not holder.found
    model(torch.zeros(1, *SHAPE))
    assert len([*inside, *COLLECTED, *holder.found]) == 1
    COLLECTED.clear()


class Collector:
    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def collect(self, *call: Any) -> None:
        self.found.append(call[2])


COLLECTED: list[Tensor] = []


def alive() -> int:
    """Outputs of the layer for the chains."""
    gc.collect()
    return sum(isinstance(each, Tensor) and each.shape == (4, 7) for each in gc.get_objects())


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("mode", [torch.inference_mode, default_device, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_modes_of_the_caller_make_no_difference(mode: Callable[[], Any]) -> None:
    model, judge = with_fixed_weights(Base), with_fixed_weights(Base)
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(2))

    def found() -> list[Any]:
        s = sample(model, dataset=images, prior=None, warm_up=2, goal="p60", execution="plain")
        s.step(4)
        belief = s.belief(judge=judge, steps=2)
        layers = ldam.layers(model, SHAPE)
        near = ldam.neurons_of(model, 1, input_shape=SHAPE)
        return [str(belief.table()), s.standing(), str(layers.table()), str(near), s.images.tolist()]

    expected = found()
    with mode():
        assert found() == expected
