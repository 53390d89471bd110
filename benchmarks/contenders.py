"""One step of each tool, all on the same network, units, batch and standardised input.

A contender is called for a block of steps. Rivals have the pixels themselves as parameters and no random transforms,
which is the least that they can be asked for; "frozen" is for a user who thought of freezing the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from networks import Network
from shims import opencv_in_name, torchvision_without_its_operators
from timing import Run
from torch import Tensor

import ldam_widget as ldam

torchvision_without_its_operators()
opencv_in_name()


def floor(network: Network, device: torch.device, steps: int) -> Run:
    """Frozen network as far as the layer, gradient with respect to x alone, noise into a reused buffer, in place."""
    model, preprocess, climbed = _frozen_path(network, device)
    x, noise = torch.rand(network.batch, device=device), torch.empty(network.batch, device=device)

    def run() -> None:
        for _ in range(steps):
            x.requires_grad_(True)
            (grad,) = torch.autograd.grad(climbed(model(preprocess(x))).sum(), x)
            x.requires_grad_(False)
            x.add_(grad, alpha=0.01).add_(noise.normal_(), alpha=0.01)

    return run


class Ours:
    """The whole step: noise, L2, EMA, burn-in, thermometer, walls, a picture at every step, or every `each` steps."""

    def __init__(
        self, network: Network, device: torch.device, steps: int, kernel: Any, execution: str = "auto", each: int = 1
    ) -> None:
        self.steps = steps
        self.sampler = ldam.Sampler(
            network.fresh(device, frozen=False), neurons=network.neurons, chains=network.chains, kernel=kernel,
            prior=None, transforms=None, scale="none", temperature=1.0, regularizers=[ldam.L2(0.1)],
            average=ldam.EMA(0.99), steps_per_frame=each,
            preprocess=network.preprocess(device), input_shape=network.shape, pixel_range=(0, 1), device=device,
            execution=execution,
        )  # fmt: skip
        # the same neurons as everybody's, however they are run, or the comparison would be worth nothing
        self.sampler.step(1)
        model, preprocess, climbed = _frozen_path(network, device)
        expected = climbed(model(preprocess(self.sampler.images.reshape(network.batch))))
        torch.testing.assert_close(self.sampler.activation.flatten(), expected, rtol=1e-2, atol=1e-2)

    def __call__(self) -> None:
        for _ in self.sampler.frames(self.steps):
            pass

    @property
    def execution(self) -> str:
        """What the sampler says of how it runs the network; "" if nothing."""
        return getattr(self.sampler, "execution_report", "")


def torch_sgld(network: Network, device: torch.device, steps: int) -> Run:
    """Its optimiser over x, beside the same forward pass as the floor's."""
    from torch_sgld import SGLD

    model, preprocess, climbed = _frozen_path(network, device)
    x = torch.rand(network.batch, device=device, requires_grad=True)
    optimizer = SGLD([x], lr=0.01, temperature=1e-3)

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (-climbed(model(preprocess(x))).sum()).backward()
            optimizer.step()

    return run


def lucent(network: Network, device: torch.device, steps: int, *, frozen: bool) -> Run:
    """lucent's own loop and its default optimiser."""
    from lucent.optvis import objectives, param, render

    model = network.fresh(device, frozen=frozen)
    if len(network.units) > 1:
        each = [objectives.channel(network.layer, unit, batch=i) for i, unit in enumerate(network.units)]
        wanted = sum(each[1:], each[0])
    else:
        wanted = objectives.channel(network.layer, network.units[0])
    channels, side = network.shape[0], network.shape[-1]

    def run() -> None:
        render.render_vis(
            model, wanted,
            lambda: param.image(side, channels=channels, batch=network.images, fft=False, decorrelate=False),
            preprocess=False, transforms=[network.preprocess(device)], fixed_image_size=side if side < 224 else None,
            thresholds=(steps,), show_image=False, progress=False,
        )  # fmt: skip
        for module in model.modules():  # it leaves its hooks behind, and would become slower from block to block
            module._forward_hooks.clear()

    return run


def torch_dreams(network: Network, device: torch.device, steps: int, *, frozen: bool) -> Run:
    """torch-dreams' own loop and its default optimiser; pixels in its base class, since its own images are RGB."""
    from torch_dreams import Dreamer
    from torch_dreams.auto_image_param import BaseImageParam

    preprocess, climbed = network.preprocess(device), network.climbed(device)

    class Pixels(BaseImageParam):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            super().__init__()
            self.height, self.width = network.shape[1:]
            self.param = torch.rand(network.batch, device=device, requires_grad=True)

        def forward(self, device: str) -> Tensor:
            return preprocess(self.param)

    model = network.fresh(device, frozen=frozen)
    dreamer = Dreamer(model, quiet=True, device=str(device))
    dreamer.set_custom_transforms(lambda x: x)
    layer = model.get_submodule(network.layer)

    def run() -> None:
        dreamer.render([layer], Pixels(), iters=steps, custom_func=lambda outputs: -climbed(outputs[0]).sum())

    return run


def _frozen_path(network: Network, device: torch.device) -> tuple[Any, Callable[..., Tensor], Callable[..., Tensor]]:
    """Model as far as the layer, what stands before it, and what is read from it."""
    model = network.early_exit(network.fresh(device, frozen=True))
    return model, network.preprocess(device), network.climbed(device)


def ours(network: Network, device: torch.device, steps: int) -> dict[str, Ours]:
    kernels = ldam.kernels
    known: dict[str, Any] = {
        "ours, Algorithm1 unit": kernels.Algorithm1(normalize="unit"),
        "ours, Algorithm1 none": kernels.Algorithm1(normalize="none"),
        "ours, Algorithm1 rms": kernels.Algorithm1(normalize="rms"),
        "ours, BAOAB": kernels.BAOAB(0.1),
    }
    if len(network.units) == 1:  # what the normalisation costs shows where the network costs least
        known = {name: kernel for name, kernel in known.items() if name.endswith(("none", "BAOAB"))}
    made = {name: Ours(network, device, steps, kernel) for name, kernel in known.items()}
    if device.type == "cuda":
        graph = "CUDA graph"
        for each in (1, 8):
            for name, kernel in known.items():
                made[f"{name}, {graph}, {each} steps a picture"] = Ours(network, device, steps, kernel, graph, each)
    return made


def rivals(network: Network, device: torch.device, steps: int) -> dict[str, Run]:
    """Those that can be made here; of the others, a line says why not."""
    makers: dict[str, Callable[[], Run]] = {
        "torch-sgld": lambda: torch_sgld(network, device, steps),
        "lucent, weights frozen": lambda: lucent(network, device, steps, frozen=True),
        "lucent": lambda: lucent(network, device, steps, frozen=False),
        "torch-dreams, weights frozen": lambda: torch_dreams(network, device, steps, frozen=True),
        "torch-dreams": lambda: torch_dreams(network, device, steps, frozen=False),
    }
    made: dict[str, Run] = {}
    for name, make in makers.items():
        try:
            with warnings.catch_warnings():
                # a network that it cannot run is a warning to lucent, and then a loop that does nothing
                warnings.filterwarnings("error", "Some layers could not be computed")
                run = make()
                run()
            made[name] = run
        except Exception as error:
            print(f"{name} is not measured: {type(error).__name__}: {error}")
    return made
