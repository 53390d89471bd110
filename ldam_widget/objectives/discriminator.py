"""Discriminator: a network that distinguishes real images from sampled ones, used as a prior."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.parameters import Parameter
from ..core.target import BindContext
from ..network.addresses import Address
from ..network.capture import STOP, Call, listen
from ..network.first_pass import first_pass
from ..network.surroundings import passing
from ..network.trace import Preprocess, run
from ..network.view import device_of, dtype_of, private_view
from .discriminator_file import Stored, read, restored
from .discriminator_net import DiscriminatorNet, Quiet

Form = Literal["logit", "log", "probability"]
FORMS = ("logit", "log", "probability")
_PROBABILITIES = (nn.Sigmoid, nn.Softmax, nn.LogSoftmax, nn.LogSigmoid)

_LOG_PULL = 1.5  # see the docstring; the shipped network was trained by _LOG_PULL · Recipe.strength = 1


class Discriminator:
    """How real x looks to a network D trained to distinguish real images from sampled ones (paper, section 3.2).

    Three forms of R, whose gradients have the same direction and differ in length:

    * "log", log D, as in the paper (Eq. 6) and the default: the pull vanishes where D is convinced and leaves the rest
      to the neuron. It samples best of the three.
    * "logit", log D/(1 − D): keeps pulling however real x looks.
    * "probability", D: pulls most where D is undecided.

    Where gradients are normalised (`Algorithm1` with ``normalize="unit"``, and frozen scales), this term has its own
    normalisation, by the gradient of the logit: the lengths are 1.5(1 − D), 1 and 4D(1 − D). The 1.5 was chosen on
    MNIST between 1, which is right more often at a weight of 0.8, and 2, at 0.5 (benchmarks/RESULTS.md).

    A weight of 1 with ``Algorithm1(mix="convex")`` ignores the neuron altogether (the paper's Fig. 1, last column); in
    all other kernels the weight is the λ of Eq. 6: p ∝ exp((f + λ R)/T).

    Args:
        net_or_path: a network with one output (the logit of "real") or two ("sampled", "real"), or a file written by
            `train_discriminator`. It is run in eval mode and left unchanged; its weights are shared, so ongoing
            training takes effect. A Sigmoid or Softmax module at its end is skipped.
        weight: λ in 0…1, the live parameter `discriminator`.
        form: the form of R, see above.
        preprocess: pixels -> input of the network, unless the network includes it.
        pixel_range: (lo, hi) of the images it was trained on; None: the network's own, else that of the sampler.
            A range that differs from the sampler's is converted, with a note.

    Raises:
        TypeError, ValueError: neither network nor file, unknown form, weight out of range; on first use, a number of
            outputs other than one or two, or images that the network does not accept.
        FileNotFoundError: no such file.
    """

    name: ClassVar[str] = "discriminator"
    learned: ClassVar[bool] = True
    parameter: ClassVar[Parameter] = Parameter(
        "discriminator", 0, 1, 0.0, "Weight of the discriminator: 0 is the neuron alone, towards 1 pictures look real.",
        group="image prior",
    )  # fmt: skip

    def __init__(
        self,
        net_or_path: nn.Module | str | os.PathLike[str],
        weight: float = 0.5,
        *,
        form: Form = "log",
        preprocess: Preprocess | None = None,
        pixel_range: tuple[float, float] | None = None,
    ) -> None:
        self.weight = self.parameter.check(weight)
        if form not in FORMS:
            raise ValueError(f"form must be 'logit', 'log' or 'probability'; got {form!r}")
        if preprocess is not None and not callable(preprocess):
            raise TypeError(f"preprocess must be a function of a batch of images, or None; got {preprocess!r}")
        self.form: Form = form
        self.path: str | None = None
        self._stored: Stored | None = None
        self._net: nn.Module | None = None
        if isinstance(net_or_path, nn.Module):
            self._net = net_or_path
        elif isinstance(net_or_path, (str, os.PathLike)):
            self.path = os.fspath(net_or_path)
            self._stored = read(net_or_path)
        else:
            raise TypeError(
                "Discriminator(net_or_path) must be a torch.nn.Module or the path of a file that train_discriminator "
                f"wrote; got {net_or_path!r:.80}"
            )
        self._preprocess = preprocess
        self._asked_range = None if pixel_range is None else _ends(pixel_range)
        self._bound: _Logit | None = None
        self._strength = 1.0  # factor of the pull

    def __repr__(self) -> str:
        what = type(self._net).__name__ if self.path is None else repr(self.path)
        return f"Discriminator({what}, {self.weight:g}, form={self.form!r})"

    @property
    def net(self) -> nn.Module | None:
        """The network; None for a file, except in terms returned by `bound`."""
        return self._net

    @property
    def preprocess(self) -> Preprocess | None:
        """Pixels -> input of the network, as passed by the user."""
        return self._preprocess

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """(lo, hi) of the training images, as passed by the user; None: the network's own."""
        return self._asked_range

    def bound(self, context: BindContext) -> Discriminator:
        """This term bound to a sampler's images and device; checks that they are compatible.

        Raises:
            ValueError: see the class.
        """
        term = copy.copy(self)
        if term._net is None:
            assert self._stored is not None, "without a network there is a file"
            term._net = restored(self._stored, self.path or "", context.model)
        trained_on = self._asked_range or getattr(term._net, "pixel_range", None)
        convert = _conversion(context.pixel_range, trained_on, context.notes)
        term._bound = _Logit(term._net, context, self._preprocess, convert)
        return term

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> R (chain,) and its gradient, like x."""
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self.evaluate(x)
        logit_of = self._reader(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            logit = logit_of(x)
            (grad,) = torch.autograd.grad(logit.sum(), x)
        logit = logit.detach().float()
        if self.form == "logit":
            return logit, grad
        if self.form == "log":
            value, slope = F.logsigmoid(logit), torch.sigmoid(-logit)
        else:
            value = torch.sigmoid(logit)
            slope = value * torch.sigmoid(-logit)
        return value, grad * slope.view(-1, *(1,) * (grad.ndim - 1))

    def score(self, x: Tensor) -> Tensor:
        """D(x) in 0…1, (chain,)."""
        with torch.inference_mode(False), torch.no_grad():
            return torch.sigmoid(self._reader(x)(x.detach()).float())

    def given(self, x: Tensor) -> Tensor:
        """The network's input for images x (chain, *image): converted to its pixel range, and preprocessed."""
        return self._reader(x).inputs(x)

    def score_of(self, value: Tensor) -> Tensor:
        """D(x) from R(x), like `value`."""
        if self.form == "logit":
            return torch.sigmoid(value)
        return value.exp() if self.form == "log" else value

    def pull(self, value: Tensor) -> Tensor:
        """Length of the normalised gradient, (chain,), at R(x) = `value`: ‖∇R‖ over ‖∇ logit‖, times a constant."""
        if self.form == "logit":
            return torch.full_like(value, self._strength)
        if self.form == "log":
            return -_LOG_PULL * self._strength * torch.expm1(value)
        return 4 * self._strength * value * (1 - value)

    def weakened(self, strength: float) -> Discriminator:
        """This term with normalised gradients scaled by `strength`."""
        term = copy.copy(self)
        term._strength = strength
        return term

    def _reader(self, x: Tensor) -> _Logit:
        if self._bound is None:  # used without a sampler
            context = BindContext(None, tuple(x.shape[1:]), None, x.device, Notes())
            self._bound = self.bound(context)._bound
            assert self._bound is not None
        return self._bound


class _Logit:
    """x -> log D/(1 − D), (chain,), for any supported network output."""

    def __init__(
        self, net: nn.Module, context: BindContext, preprocess: Preprocess | None, convert: Preprocess | None
    ) -> None:
        self._view = private_view(net, context.device, Quiet())  # may be in training mode on purpose
        self._dtype, self._preprocess, self._convert = dtype_of(self._view), preprocess, convert
        self._writes_input = False
        self._stop: Address | None = None  # call of the final sigmoid or softmax
        shape = context.input_shape
        device = device_of(self._view)
        first_pass(self._view, net, shape, self.inputs, Quiet())
        own = torch.Generator(device).manual_seed(0)  # leaves the user's random numbers alone
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.rand(3, *shape, generator=own, device=device, dtype=torch.float32).requires_grad_(True)
            given = x.clone()
            try:
                self._stop = self._find_end(lambda: run(self._view, given, self.inputs, shape))
            except ValueError as error:
                raise ValueError(f"discriminator does not take images of shape {shape}: {error}") from error
            self._writes_input = given._version > 0
            output = self._output(x)
            _check_output(output, 3)
            if not output.requires_grad or torch.autograd.grad(output.sum(), x, allow_unused=True)[0] is None:
                raise ValueError("no gradient reaches the image from the discriminator: its path is cut")
            wild = 10 * torch.randn(16, *shape, generator=own, device=device, dtype=torch.float32)
            # on ordinary images the logits of an untrained network may lie in 0…1 by chance
            told = self._stop is None and not isinstance(net, DiscriminatorNet)
            told = told and all(_looks_like_probabilities(seen) for seen in (output, self._output(wild)))
        if told:
            context.notes.tell(
                "the discriminator's outputs lie between 0 and 1 but are read as logits; if they are probabilities, "
                "let it return what comes before its sigmoid or softmax"
            )

    def __call__(self, x: Tensor) -> Tensor:
        output = self._output(x)
        _check_output(output, len(x))
        output = output.flatten(1) if output.ndim > 1 else output.unsqueeze(1)
        return output[:, 0] if output.shape[1] == 1 else output[:, 1] - output[:, 0]

    def _find_end(self, forward: Callable[[], Any]) -> Address | None:
        """The call of a sigmoid or softmax whose output the network returns, or None."""
        seen: list[tuple[Address, Tensor, int]] = []

        def note(call: Call) -> None:
            if call.inputs:
                seen.append((call.address, call.output, call.output._version))

        ends = {name: module for name, module in self._view.named_modules() if isinstance(module, _PROBABILITIES)}
        output = listen(ends, note, forward)
        if not seen or not isinstance(output, Tensor):
            return None
        address, last, version = seen[-1]
        # same data, possibly reshaped; results computed from it, or in place, do not count
        same = last.data_ptr() == output.data_ptr() and last.numel() == output.numel() and last._version == version
        return address if same else None

    def inputs(self, x: Tensor) -> Tensor:
        if self._writes_input:
            x = x.clone()
        if self._convert is not None:
            x = self._convert(x)
        return x if self._preprocess is None else self._preprocess(x)

    def _output(self, x: Tensor) -> Tensor:
        with passing(self._view):
            inputs = self.inputs(x).to(self._dtype)
            output = self._view(inputs) if self._stop is None else self._into(self._stop, inputs)
        if not isinstance(output, Tensor):
            raise ValueError(f"discriminator must return one tensor; it returned {type(output).__name__}")
        return output

    def _into(self, end: Address, inputs: Tensor) -> Any:
        """The input of the network's final sigmoid or softmax."""
        given: list[Any] = []

        def take(call: Call) -> object:
            if call.address != end:
                return None
            given.append(call.inputs[0])
            return STOP

        listen({end.module: self._view.get_submodule(end.module)}, take, lambda: self._view(inputs))
        return given[0] if given else None


def _check_output(output: Tensor, count: int) -> None:
    """Raise ValueError unless there are one or two logits per image."""
    if output.shape[:1] != (count,) or output.numel() not in (count, 2 * count):
        each = tuple(output.shape[1:]) if output.shape[:1] == (count,) else tuple(output.shape)
        raise ValueError(
            "discriminator must have one output per image (the logit of 'real') or two ('sampled', 'real'); got "
            f"outputs of shape {each}"
        )


def _looks_like_probabilities(output: Tensor) -> bool:
    output = output.detach().flatten(1) if output.ndim > 1 else output.detach().unsqueeze(1)
    inside = bool(((output >= 0) & (output <= 1)).all())
    return inside and (output.shape[1] == 1 or bool((output.sum(1) - 1).abs().max() < 1e-3))


def _ends(pixel_range: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in pixel_range)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not (-float("inf") < low < high < float("inf")):
        raise ValueError(
            f"pixel_range of a discriminator must be (lo, hi) with lo < hi, both finite, or None; got {pixel_range!r}"
        )
    return low, high


def _conversion(
    ours: tuple[float, float] | None, trained_on: Sequence[float] | None, notes: Notes
) -> Preprocess | None:
    """From the sampler's pixel range to the one D was trained on; None if no conversion is needed."""
    if trained_on is None:
        return None
    low, high = _ends(trained_on)
    known = f"[{low:g}, {high:g}]"
    if ours is None:
        notes.tell(f"the discriminator was trained on pixels in {known}; here pixels are unbounded and may leave that")
        return None
    if ours == (low, high):
        return None
    notes.tell(
        f"the discriminator was trained on pixels in {known}, the sampler's are in [{ours[0]:g}, {ours[1]:g}]: they "
        "are converted for it"
    )
    factor = (high - low) / (ours[1] - ours[0])
    offset = low - ours[0] * factor
    return lambda x: x * factor + offset
