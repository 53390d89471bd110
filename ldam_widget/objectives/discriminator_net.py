"""Networks that distinguish real images from sampled ones, built from a classifier or from scratch."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.random_numbers import drawing_from
from ..network.addresses import Address
from ..network.capture import Capture
from ..network.trace import check_shape, trace
from ..network.view import dtype_of, private_view, unwrap

_SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.Sigmoid, nn.LogSigmoid)
_SMALLEST_MAP = 7  # pixels per side: convolutions halve the map until it is no larger
_WIDEST = 256  # channels


class Quiet(Notes):
    """Discards notes."""

    def tell(self, message: str) -> None:
        pass


class DiscriminatorNet(nn.Module):
    """x (N, *input_shape) in `pixel_range` -> the logit of "x is real", (N, 1).

    Pixels are standardised inside, so the network and its weights are self-contained.

    Attributes:
        body: the network proper, standardised pixels -> (N, 1).
        design: JSON-safe description from which `rebuild` builds the same network.
        input_shape: of one image.
        pixel_range: (lo, hi) of the images it was trained on; None until known.
        card: how it was trained, JSON-safe: rounds, recipe, …; empty before.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, design: dict[str, Any], input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body, self.design, self.input_shape = body, design, input_shape
        self.pixel_range: tuple[float, float] | None = None
        self.card: dict[str, Any] = {}
        # elements of a plain vector are pixels, not channels: a pixel that is black in all real images has no spread
        channels = (input_shape[0] if len(input_shape) > 1 else 1, *(1,) * (len(input_shape) - 1))
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("std", torch.ones(channels, dtype=torch.float32))

    def standardize(self, images: Tensor) -> None:
        """Set the mean and standard deviation of each channel from real images (N, *input_shape)."""
        axes = [axis for axis in range(images.ndim) if axis != 1 or images.ndim == 2]
        images = images.detach().to(self.mean)
        least = 1e-3 * float(images.std(correction=0)) or 1.0  # all images may have one colour
        self.mean.copy_(images.mean(axes).view_as(self.mean))
        self.std.copy_(images.std(axes, correction=0).clamp_min(least).view_as(self.std))

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.body((x.to(self.mean.dtype) - self.mean) / self.std)
        return logit


class _UpTo(nn.Module):
    """A copy of a classifier whose last layer with weights has one output; later modules are skipped."""

    def __init__(self, network: nn.Module, head: str) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x: Tensor) -> Tensor:
        (output,) = Capture(self.network, [Address(self.head)])(lambda: self.network(x))
        logit: Tensor = output.flatten(1).mean(1, keepdim=True)  # a final convolution has one value per position
        return logit


@torch.inference_mode(False)  # weights created in inference mode could never be trained
def build_discriminator(
    model: nn.Module, input_shape: Sequence[int], *, seed: int = 0, small: bool = False
) -> DiscriminatorNet:
    """A discriminator as similar as possible to a classifier (paper, section 3.2): its layers, with one output.

    The copy shares no weights with the classifier: every layer is reinitialised by its own `reset_parameters`. If that
    is impossible (weights outside of such layers, no final linear layer or convolution), a small convolutional network
    is built instead; `design["kind"]` says which was built, and `design["why"]` the reason.

    Args:
        model: the classifier; left unchanged.
        input_shape: of one image without the batch axis, e.g. (1, 28, 28).
        seed: of the initial weights; the global random state is not used.
        small: always build the small convolutional network.

    Raises:
        TypeError, ValueError: not a module; a shape that the model does not accept.
    """
    shape = check_shape(input_shape)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an instance of torch.nn.Module; got {model!r:.80}")
    if small:
        return rebuild({"kind": "small", "input_shape": list(shape), "seed": seed})
    why = ""
    with drawing_from(torch.Generator().manual_seed(seed)), torch.device("cpu"):
        try:
            body = _like(model, shape)
        except _CannotDeriveError as error:
            why = str(error)
        else:
            return DiscriminatorNet(body, {"kind": "like the classifier", "input_shape": list(shape)}, shape)
    return rebuild({"kind": "small", "input_shape": list(shape), "seed": seed, "why": why})


@torch.inference_mode(False)
def rebuild(design: dict[str, Any], model: nn.Module | None = None) -> DiscriminatorNet:
    """The network that a `design` describes, with fresh weights.

    Raises:
        ValueError: an unknown design, or one that needs the classifier when none was given.
    """
    shape = check_shape(design.get("input_shape", ()))
    kind, seed = design.get("kind"), int(design.get("seed", 0))
    if kind == "small":
        with drawing_from(torch.Generator().manual_seed(seed)), torch.device("cpu"):
            return DiscriminatorNet(_small(shape, int(design.get("width", 32))).float(), design, shape)
    if kind == "like the classifier":
        if model is None:
            raise ValueError(
                "this discriminator is a copy of its classifier's layers and needs the classifier to be made again"
            )
        return build_discriminator(model, shape)
    raise ValueError(f"unknown kind of discriminator {kind!r}; there are 'small' and 'like the classifier'")


class _CannotDeriveError(Exception):
    """The classifier's layers cannot be turned into a discriminator."""


def _like(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    view = private_view(model, None, Quiet(), shared=False)
    seen = trace(view, shape, None, None, Quiet())
    leaves = [output for output in seen.outputs if output.layer.leaf and not isinstance(output.module, _SOFTMAX)]
    heads = [
        output.address for output in leaves if isinstance(output.module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    if not heads:
        raise _CannotDeriveError("the classifier has no linear layer or convolution")
    head: Address = heads[-1]
    if seen.calls[head.module] != 1:
        raise _CannotDeriveError(f"its last layer {head.module!r} runs several times")
    network = copy.deepcopy(unwrap(view)).to("cpu").float()
    network.requires_grad_(True)
    for name, module in network.named_modules():
        _initialize(module, f"{type(module).__name__} {name!r}")
    network = _with_one_output(network, head.module).float()
    body = _UpTo(network, head.module) if head.module else network
    body.train()
    _try_out(body, shape, dtype_of(network))
    return body


def _initialize(module: nn.Module, called: str) -> None:
    """Reinitialise a module's weights by its own rule."""
    own = [parameter for parameter in module._parameters.values() if parameter is not None]
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if reset is None:
        if own:
            raise _CannotDeriveError(f"{called} has weights and no reset_parameters")
        return
    with torch.no_grad():
        for parameter in own:  # parameters the rule misses (e.g. with weight_norm) stay NaN
            parameter.fill_(math.nan)
    try:
        reset()
    except Exception as error:
        raise _CannotDeriveError(f"reset_parameters of {called} raised {type(error).__name__}: {error}") from error
    if not all(bool(parameter.isfinite().all()) for parameter in own):
        raise _CannotDeriveError(f"reset_parameters of {called} does not reset all of its weights")


def _with_one_output(network: nn.Module, name: str) -> nn.Module:
    old = network.get_submodule(name) if name else network
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, 1)
    else:
        assert isinstance(old, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        if old.groups != 1:
            raise _CannotDeriveError(f"its last layer {name!r} is a convolution in groups")
        make: Any = type(old)  # the three take the same arguments
        new = make(
            old.in_channels, 1, old.kernel_size, old.stride, old.padding, old.dilation,
            padding_mode=old.padding_mode,
        )  # fmt: skip
    if not name:
        return new
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
    return network


def _try_out(body: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Run the copy once: code in a forward pass outside its modules may not work in a copy."""
    was = body.training
    try:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.randn(2, *shape, dtype=dtype, requires_grad=True)
            logit = body.eval()(x)
            (grad,) = torch.autograd.grad(logit.sum(), x)
    except Exception as error:
        raise _CannotDeriveError(f"a copy of its layers does not run: {type(error).__name__}: {error}") from error
    finally:
        body.train(was)
    if logit.shape != (2, 1) or not bool(grad.any()) or not bool(grad.isfinite().all()):
        raise _CannotDeriveError("a copy of its layers gives no logit with a gradient")


def _small(shape: tuple[int, ...], width: int) -> nn.Sequential:
    """Strided 4×4 convolutions and leaky ReLUs, whose gradient is smoother in x than that of max pooling."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        numbers = math.prod(shape)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(numbers, 8 * width), nn.LeakyReLU(0.2),
            nn.Linear(8 * width, 4 * width), nn.LeakyReLU(0.2), nn.Linear(4 * width, 1),
        )  # fmt: skip
    channels, height, breadth = shape
    layers: list[nn.Module] = []
    wide = width
    while not layers or (max(height, breadth) > _SMALLEST_MAP and min(height, breadth) >= 2):
        layers += [nn.Conv2d(channels, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels, height, breadth, wide = wide, height // 2, breadth // 2, min(2 * wide, _WIDEST)
    layers += [nn.Flatten(), nn.Linear(channels * height * breadth, 4 * width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(4 * width, 1))
