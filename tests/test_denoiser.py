"""`Denoiser`: its gradient, how its network is called, and what needs an energy and is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights

X = torch.rand(3, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))


class Smooth(nn.Module):
    """Half of every pixel, in double precision, after dropout that must be off."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float64
        return self.dropout(x.mul_(self.share))


class Sigma(nn.Module):
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == x.shape[:1]
        return x * sigma.view(-1, 1, 1, 1)


class SigmaByName(nn.Module):
    def forward(self, x: Tensor, sigma: Any = None) -> Tensor:
        return x * (1 if sigma is None else sigma.view(-1, 1, 1, 1))


class WithAnOption(nn.Module):
    def forward(self, x: Tensor, strength: float = 0.25) -> Tensor:
        return x * strength


def sampler(net: nn.Module | None = None, **more: Any) -> ldam.Sampler:
    settings: dict[str, Any] = {
        "regularizers": [ldam.Denoiser(Smooth() if net is None else net, 0.2)], "pixel_range": (0, 1), "prior": None,
        "execution": "plain", "chains": 2,
    }  # fmt: skip
    return ldam.Sampler(with_fixed_weights(TinyCnn), input_shape=TINY_SHAPE, **(settings | more))


def test_tweedie() -> None:
    """(D(x) − x)/σ², of a network in training mode that writes into its input, and leaves both alone."""
    net = Smooth().train()
    before = X.clone()
    s = sampler(net)
    term: Any = s.target.terms["denoiser"]
    torch.testing.assert_close(term.gradient(X), (0.5 * X - X) / 0.04)
    torch.testing.assert_close(term.denoised(X), 0.5 * X)
    assert torch.equal(X, before)
    assert net.training
    net.share.data.fill_(0.25)  # weights are shared
    torch.testing.assert_close(term.gradient(X), (0.25 * X - X) / 0.04)


@pytest.mark.parametrize(("net", "share"), [(Sigma(), 0.2), (SigmaByName(), 0.2), (WithAnOption(), 0.25)])
def test_sigma_is_passed_if_the_network_takes_it(net: nn.Module, share: float) -> None:
    term = ldam.Denoiser(net, 0.2)
    torch.testing.assert_close(term.denoised(X), share * X)
    sampler(net).step(2)


@pytest.mark.parametrize("kernel", [BAOAB(0.02), ULA(1e-3), Algorithm1()], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("more", [{}, {"scale": "frozen", "kernel": BAOAB(0.02)}, {"start": "grey"}], ids=str)
def test_kernels_of_gradients_take_it(kernel: Any, more: dict[str, Any]) -> None:
    s = sampler(**{"kernel": kernel} | more)
    s.step(30)
    s.set(denoiser=0)
    s.step(5)
    s.set(denoiser=3)
    s.step(5)
    s.select(neurons=[2, 1])
    s.step(5)
    assert bool(s.images.isfinite().all())


@pytest.mark.slow
def test_in_the_coordinates_of_a_natural_prior_and_in_a_widget() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    w = ldam.LDAM(
        net, input_shape=(3, 16, 16), pixel_range=(0, 1), play=False, regularizers=[ldam.Denoiser(Sigma(), 0.2, 0.0)]
    )
    w.step(120)
    bright = float(w.sampler.images.mean())
    w.denoiser = 20
    w.step(150)
    assert float(w.sampler.images.mean()) < bright - 0.1, "it makes pictures darker"
    assert "as its network estimates it" in w.sampler.kernel_note
    with pytest.raises(ValueError, match="Denoiser has a gradient and no energy, by which GHMC accepts moves"):
        w.use_kernel("GHMC")
    w.step(2)
    assert w.error is None
    w.close()


def test_what_needs_an_energy_is_refused() -> None:
    for kernel in (GHMC(), MALA(0.01)):
        with pytest.raises(ValueError, match=r"no energy, by which .* accepts moves: use one that needs gradients"):
            sampler(kernel=kernel)
    with pytest.raises(ValueError, match="no energy, by which a ladder accepts moves"):
        sampler(ladder=(1, 2), kernel=BAOAB(0.02))
    with pytest.raises(RuntimeError, match="no energy"):
        sampler().quenched()
    with pytest.raises(RuntimeError, match="no energy"):
        ldam.Denoiser(Smooth(), 0.2).evaluate(X)


def test_it_confines_unbounded_pixels() -> None:
    s = sampler(pixel_range=None, scale="none", temperature=1.0)
    assert s.has_law
    s.set(denoiser=0)
    assert not s.has_law


class Cropping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:]


class Lost(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 0


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: ldam.Denoiser("net.pt", 0.1), TypeError, r"needs a torch.nn.Module; got 'net.pt'"),  # type: ignore[arg-type]
    (lambda: ldam.Denoiser(Smooth(), 0), ValueError, "sigma must be a number > 0"),
    (lambda: ldam.Denoiser(Smooth(), True), ValueError, "sigma must be a number > 0"),
    (lambda: ldam.Denoiser(Smooth(), 0.1, -1), ValueError, "denoiser must be 0 or between"),
    (lambda: sampler(nn.Linear(3, 3)), ValueError, r"denoiser does not take images of shape \(3, 6, 8\): RuntimeError"),
    (lambda: sampler(nn.LSTM(8, 8)), ValueError, "denoiser does not take images"),
    (lambda: sampler(Cropping()), ValueError, r"it takes \(2, 3, 6, 8\) and gives \(2, 3, 6, 7\)"),
    (lambda: sampler(Lost()), ValueError, "NaN or infinite"),
])  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
