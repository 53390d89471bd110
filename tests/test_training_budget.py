"""How long a training takes: forecasts, budgets of time, and how the classifier is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldam_widget import Recipe, Trainer, load_discriminator, train_discriminator
from ldam_widget.adversary.budget import Budget
from ldam_widget.core.notes import LDAMWarning

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights

# An untrained network puts all images into one class; a few rounds may not teach a discriminator anything.
pytestmark = pytest.mark.filterwarnings("ignore:the network may not have been trained")
TINY = Recipe(batch=10, steps=3, pool=2, penalty=0.0, denoising=0.0)


class Clock:
    """Stands still unless moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SlowImages:
    """Real images of which each takes a second of the clock to load."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.images = torch.rand(64, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        self.clock.now += 1.0
        return self.images[i]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ldam_widget.adversary.trainer.trouble", lambda rounds: "")  # whatever so few rounds teach
    monkeypatch.setattr("ldam_widget.adversary.train.Budget", lambda *given: Budget(*given, clock=clock))
    return clock


def classifier() -> nn.Module:
    return with_fixed_weights(TinyCnn)


def rounds_of(budget: Budget, clock: Clock, seconds: list[float], done: int = 0) -> int:
    """Rounds run when they take that long, one after the other; the last is repeated."""
    while not budget.over(done):
        budget.begin()
        clock.now += seconds[min(done, len(seconds) - 1)]
        budget.ended()
        done += 1
    return done


# ---- the budget by itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "minutes", "seconds", "wanted"),
    [
        (7, None, [1.0], 7),
        (None, None, [1.0], 2000),
        (None, 1.0, [1.0], 60),
        (50, 1.0, [1.0], 50),
        (100, 1.0, [1.0], 60),
        (None, 1.0, [7.0], 8),  # the ninth would end after 63 seconds
        (None, 1.0, [20.0, 1.0], 41),  # of the last 20 rounds none was that slow
        (None, 1.0, [1.0] * 40 + [5.0, 1.0], 52),  # another of 5 seconds might not end in time
        (None, 0.01, [30.0], 1),  # one is always run
    ],
)
def test_rounds_end_in_time(rounds: int | None, minutes: float | None, seconds: list[float], wanted: int) -> None:
    clock = Clock()
    budget = Budget(rounds, minutes, clock=clock)
    assert rounds_of(budget, clock, seconds) == wanted


def test_preparations_and_saving_count() -> None:
    clock = Clock()
    budget = Budget(None, 1.0, clock=clock)
    clock.now += 20
    for _ in range(10):
        budget.begin()
        clock.now += 1
        budget.ended()
        clock.now += 2  # saved
    assert budget.spent == pytest.approx(50 / 60)
    assert rounds_of(budget, clock, [1.0], 10) == 20


@pytest.mark.parametrize(
    ("rounds", "minutes", "seconds", "forecast"),
    [
        (3000, None, 0.24, "about 12 minutes for 3,000 rounds on cpu"),
        (100, None, 0.5, "about 50 seconds for 100 rounds on cpu"),
        (2000, None, 6.0, "about 3.3 hours for 2,000 rounds on cpu"),
        (None, 20.0, 1.0, "about 20 minutes for 1,200 rounds on cpu"),
        (300, 20.0, 1.0, "about 5 minutes for 300 rounds on cpu"),
    ],
)
def test_the_forecast_is_that_of_the_rounds_timed(
    rounds: int | None, minutes: float | None, seconds: float, forecast: str
) -> None:
    clock = Clock()
    budget = Budget(rounds, minutes, clock=clock)
    done = 0
    while not budget.measured:
        budget.begin()
        clock.now += seconds
        budget.ended()
        done += 1
    assert done == (4 if seconds == 6.0 else 11)  # ten rounds and the first, or a quarter of a minute
    assert budget.forecast(done, "cpu") == forecast


@pytest.mark.parametrize(
    ("seconds", "fit", "advice"),
    [
        (8.0, 150, r"give about 67 minutes, or smaller batches, Recipe\(batch=36\)$"),  # 150 · 120 / 36 = 500
        (24.0, 50, r"give about 3\.3 hours$"),  # batches of 12 would do, which teach nothing
    ],
)
def test_a_shortage_says_what_would_be_enough(seconds: float, fit: int, advice: str) -> None:
    clock = Clock()
    budget = Budget(None, 20.0, clock=clock)
    for _ in range(4):
        budget.begin()
        clock.now += seconds
        budget.ended()
    assert re.search(rf"only about {fit} rounds fit into 20 minutes; .*{advice}", budget.shortage(4, 120))


def test_the_first_round_does_not_spoil_the_forecast() -> None:
    """It includes the trial of ways to run the network."""
    clock = Clock()
    budget = Budget(1000, None, clock=clock)
    for seconds in [30.0, *[1.0] * 10]:
        budget.begin()
        clock.now += seconds
        budget.ended()
    assert budget.forecast(11, "cpu") == "about 17 minutes for 1,000 rounds on cpu"  # 30 + 999 seconds


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan"), float("inf"), True, "ten"])
def test_minutes_are_a_number(minutes: Any) -> None:
    with pytest.raises(ValueError, match="minutes must be a finite number > 0"):
        train_discriminator(classifier(), torch.rand(9, *TINY_SHAPE), minutes=minutes)


# ---- training within it ----------------------------------------------------------------------------------------------


def trained(clock: Clock, **options: Any) -> nn.Module:
    settings: dict[str, Any] = {"recipe": TINY, "pixel_range": (0, 1), "progress": False} | options
    return train_discriminator(classifier(), SlowImages(clock), **settings)


@pytest.mark.slow
def test_a_training_ends_in_its_minutes_and_says_how_many_rounds_it_ran(clock: Clock, tmp_path: Path) -> None:
    """A round loads 5 images. Before the first, 1 + 64 are checked, 64 give mean and deviation, 64 are looked at."""
    with pytest.warns(LDAMWarning, match="only about 21 rounds fit into 5 minutes"):
        net = trained(clock, minutes=5, out=tmp_path / "d.safetensors")
    assert clock.now - 1000 <= 300
    assert net.card["rounds"] == (300 - 193) // 5
    again = load_discriminator(tmp_path / "d.safetensors", classifier())
    assert again.card == net.card


@pytest.mark.slow
def test_the_forecast_is_printed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    trained(clock, rounds=20, progress=True)
    assert "about 5 minutes for 20 rounds on cpu" in capsys.readouterr().err  # 193 + 20 · 5 seconds


@pytest.mark.slow
def test_minutes_are_those_of_this_call_and_rounds_those_of_all(clock: Clock, tmp_path: Path) -> None:
    out = tmp_path / "d.safetensors"
    trained(clock, rounds=8, out=out)
    with pytest.warns(LDAMWarning, match="only about"):
        net = trained(clock, minutes=5, out=out, resume=True)
    assert net.card["rounds"] == 8 + 21
    assert trained(clock, rounds=30, minutes=5, out=out, resume=True).card["rounds"] == 30


# ---- how the classifier is run ---------------------------------------------------------------------------------------


class Normed(nn.Module):
    """(N, 3, 6, 8) -> (N, 4), with a batch norm to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 4 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(self.norm(self.conv(x)).tanh().flatten(1))
        return z


def normed() -> nn.Module:
    model = with_fixed_weights(Normed)
    model.train()(torch.rand(64, *TINY_SHAPE, generator=torch.Generator().manual_seed(1)))  # statistics
    return model.eval()


def test_a_faster_way_of_running_the_classifier_trains_the_same() -> None:
    images = torch.rand(64, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
    model = normed()
    plain, folded = (
        Trainer(model, images, recipe=TINY, pixel_range=(0, 1), device="cpu", execution=execution)
        for execution in ("plain", "batch norms folded")
    )
    for _ in range(4):
        plain.train_round()
        folded.train_round()
    assert folded.execution == "batch norms folded"
    assert folded.card()["execution"] == "batch norms folded"
    assert plain.execution == "plain"
    assert not torch.equal(folded.samples(), plain.samples())  # rounded elsewhere: it was really run
    torch.testing.assert_close(folded.samples(), plain.samples(), rtol=0, atol=1e-4)
    assert folded.rounds == [pytest.approx(seen, abs=1e-4) for seen in plain.rounds]


@torch.no_grad()
def test_the_faster_way_follows_a_classifier_that_changes() -> None:
    images = torch.rand(64, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
    model, samples = normed(), []
    for execution in ("plain", "batch norms folded"):
        changing = normed()
        t = Trainer(changing, images, recipe=TINY, pixel_range=(0, 1), device="cpu", execution=execution)
        t.train_round()
        changing.get_submodule("conv").weight.mul_(-3.0)  # type: ignore[operator]
        t.train_round()
        samples.append(t.samples())
    torch.testing.assert_close(samples[0], samples[1], rtol=0, atol=1e-4)
    unchanged = Trainer(model, images, recipe=TINY, pixel_range=(0, 1), device="cpu", execution="plain")
    unchanged.train_round()
    unchanged.train_round()
    assert float((unchanged.samples() - samples[0]).abs().max()) > 0.01  # the control


def test_an_unknown_way_of_running_is_refused() -> None:
    images = torch.rand(9, *TINY_SHAPE)
    with pytest.raises(ValueError, match="execution must be one of 'auto', 'plain'"):
        Trainer(classifier(), images, recipe=TINY, execution="quick")
    with pytest.raises(ValueError, match="cannot run this network"):
        Trainer(classifier(), images, recipe=TINY, execution="batch norms folded").train_round()
