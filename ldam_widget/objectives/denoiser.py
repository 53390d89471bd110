"""Denoiser: a network that removes noise, used as a prior."""

from __future__ import annotations

import copy
import inspect
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.parameters import Parameter
from ..core.target import BindContext
from ..network.first_pass import first_pass
from ..network.inputs import call_with
from ..network.surroundings import passing
from ..network.view import dtype_of, private_view
from .discriminator_net import Quiet


class Denoiser:
    """The density of noisy real images, p_σ = p_real * N(0, σ²I), as a network estimates it: ∇R(x) = (D(x) − x)/σ².

    By Tweedie's formula this is ∇ log p_σ(x) if D(x) is the mean of the clean images that, with noise of standard
    deviation σ added, look like x: what a network trained on the squared error learns. With a weight of 1,
    ``scale="none"`` and T = 1 the chains then sample p_σ(x) · exp(f(x)); as σ → 0, real images times exp(f). With a
    weight of T it is p_σ(x) · exp(f(x)/T): the temperature is then that of the neuron alone.

    There is no energy: kernels that accept or refuse moves by it (`GHMC`, `MALA`) and ladders refuse this term, and
    `quenched` does not work with it. Samples are as noisy as p_σ is; ``net(sample)`` is without.

    Cost: a forward pass of the network. Source: Efron, J. Am. Stat. Assoc. 106 (2011), 1602; Vincent, Neural
    Computation 23 (2011), 1661.

    Args:
        net: (batch, *image) noisy pixels, as the sampler has them -> clean ones, the same shape. If its forward takes
            a second argument that has no default or is called "sigma", it is called as net(x, sigma), with sigma a
            tensor (batch,), else as net(x). It is run in eval mode and left unchanged; its weights are shared.
        sigma: σ > 0 in the pixels' units, of the noise that the network removes.
        weight: λ ≥ 0, the live parameter `denoiser`.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range; when given to a sampler, a network that
            does not take the images, or gives another shape or numbers that are not finite.
    """

    name: ClassVar[str] = "denoiser"
    learned: ClassVar[bool] = False  # the length of its gradient means something: it is not normalised, nor mixed
    confines: ClassVar[bool] = True  # as long as the network answers with real images
    has_energy: ClassVar[bool] = False
    parameter: ClassVar[Parameter] = Parameter(
        "denoiser", 1e-4, 1e2, 0.0, "Weight λ of the denoiser: pulls towards what it makes of the picture.",
        group="image prior", log=True, zero=True,
    )  # fmt: skip

    def __init__(self, net: nn.Module, sigma: float, weight: float = 1.0) -> None:
        if not isinstance(net, nn.Module):
            raise TypeError(f"Denoiser(net, sigma) needs a torch.nn.Module; got {net!r:.80}")
        if isinstance(sigma, bool) or not isinstance(sigma, (int, float)) or not 0 < sigma < math.inf:
            raise ValueError(f"Denoiser sigma must be a number > 0, in the pixels' units; got {sigma!r}")
        self.net, self.sigma, self.weight = net, float(sigma), self.parameter.check(weight)
        self._takes_sigma = _takes_sigma(net)
        self._view: nn.Module | None = None

    def __repr__(self) -> str:
        return f"Denoiser({type(self.net).__name__}, {self.sigma:g}, {self.weight:g})"

    def bound(self, context: BindContext) -> Denoiser:
        """This term bound to a sampler's images and device. Raises ValueError: see the class."""
        term = copy.copy(self)
        term._view = private_view(self.net, context.device, Quiet())
        if self._takes_sigma:
            call_with(term._view, self._with_sigma)
        first_pass(term._view, self.net, tuple(context.input_shape), None, Quiet())
        own = torch.Generator(context.device).manual_seed(0)  # leaves the user's random numbers alone
        x = torch.rand(2, *context.input_shape, generator=own, device=context.device)
        try:
            clean = term.denoised(x)
        except Exception as error:
            raise ValueError(
                f"denoiser does not take images of shape {context.input_shape}: {type(error).__name__}: {error}"
            ) from error
        if clean.shape != x.shape:
            shapes = f"it takes {tuple(x.shape)} and gives {tuple(clean.shape)}"
            raise ValueError(f"denoiser must give images of the shape that it takes; {shapes}")
        if not bool(clean.isfinite().all()):
            raise ValueError("denoiser gives numbers that are NaN or infinite")
        return term

    def _with_sigma(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_full((len(x),), self.sigma)

    def denoised(self, x: Tensor) -> Tensor:
        """D(x), like x (chain, *image)."""
        view = self.net if self._view is None else self._view
        given = x.detach().to(dtype_of(view)).clone()  # the network may write into it
        with torch.inference_mode(False), torch.no_grad(), passing(view):
            alone = self._view is not None or not self._takes_sigma  # a view gets σ by its hook
            clean = view(given) if alone else view(*self._with_sigma(given))
        if not isinstance(clean, Tensor):
            raise TypeError(f"denoiser must return one tensor; it returned {type(clean).__name__}")
        return clean.to(x.dtype)

    def gradient(self, x: Tensor) -> Tensor:
        """x (chain, *image) -> (D(x) − x)/σ²."""
        return (self.denoised(x) - x) / self.sigma**2

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raises RuntimeError: there is no energy."""
        raise RuntimeError("a Denoiser has a gradient and no energy; use what needs the gradient alone")


def _takes_sigma(net: nn.Module) -> bool:
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    try:
        taken = [p for p in inspect.signature(net.forward).parameters.values() if p.kind in kinds]
    except (TypeError, ValueError):  # a compiled module without a signature
        return False
    return len(taken) > 1 and (taken[1].default is inspect.Parameter.empty or taken[1].name == "sigma")
