"""A model with its traced forward pass, and the places in it that can be sampled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from .addresses import Address, describe, example, parts, tensors, unit_axis
from .capture import Call, Capture, listen
from .inputs import inputs_hint
from .trace import Preprocess, Trace, run, trace
from .view import device_of


class Place(NamedTuple):
    """One output of a forward pass, and its axes."""

    address: Address
    batch_axis: int
    unit_axis: int  # once the batch comes first
    shape: tuple[int, ...]  # (units, *positions), of one image
    dtype: torch.dtype
    rows: int = 1  # of the first axis per image, as with frames or windows, which become a position
    interleaved: bool = False  # the first rows of all images come first

    def in_order(self, output: Tensor) -> Tensor:
        """The network's output there -> (image, units, *positions)."""
        if self.rows > 1:
            sizes = (self.rows, -1) if self.interleaved else (-1, self.rows)
            output = output.reshape(*sizes, *output.shape[1:])
            output = output.transpose(0, 1) if self.interleaved else output
        if self.batch_axis != 0:
            output = output.movedim(self.batch_axis, 0)
        return output if self.unit_axis == 1 else output.movedim(self.unit_axis, 1)


@dataclass(frozen=True)
class Traced:
    """A model, run as its user wrote it.

    Attributes:
        view: a private view of it.
        image_shape: of one image.
        preprocess: x in pixel range -> model input.
        trace: of one forward pass.
    """

    view: nn.Module
    image_shape: tuple[int, ...]
    preprocess: Preprocess | None
    trace: Trace

    @classmethod
    def of(
        cls,
        view: nn.Module,
        image_shape: tuple[int, ...],
        preprocess: Preprocess | None,
        wanted: str | None,
        notes: Notes,
    ) -> Traced:
        """Trace one image; a failure after the layer `wanted` only adds a note. Raises the errors of `trace`."""
        return cls(view, image_shape, preprocess, trace(view, image_shape, preprocess, wanted, notes))

    def run(self, x: Tensor) -> Any:
        """The model's output; x is not modified."""
        return run(self.view, x.clone(), self.preprocess, self.image_shape)

    def some_images(self, count: int) -> Tensor:
        """Random images that require gradients, from a private generator."""
        device = device_of(self.view)
        own = torch.Generator(device).manual_seed(0)
        x = torch.rand(count, *self.image_shape, generator=own, device=device, dtype=torch.float32)
        return x.requires_grad_(True)

    def place(self, address: Address) -> Place:
        """An output, found by running one image.

        Raises:
            ValueError: it has no unit axis, or no gradient reaches the pixels from there.
        """
        name, capture = str(address), Capture(self.view, [address])
        with torch.inference_mode(False), torch.enable_grad():
            x = self.some_images(1)
            (output,) = capture(lambda: self.run(x))
            if not isinstance(output, Tensor):
                if parts(output) is None:
                    raise ValueError(
                        f"layer {name!r} gives {describe(output)} for a batch of one image; neurons need an output "
                        "(batch, units, …)"
                    )
                raise ValueError(
                    f"layer {name!r} returns {describe(output)}, not one tensor; choose {example(address, output)}"
                )
            batch_axis, interleaved = self._batch_axis(output, capture), None
            if batch_axis is None:
                interleaved = self._interleaved(output, capture)
            if batch_axis is None and interleaved is None:
                raise ValueError(
                    f"layer {name!r} gives {tuple(output.shape)} for a batch of one image; neurons need an output "
                    f"(batch, units, …). {inputs_hint(self.view)}".rstrip(" .")
                )
            if output.is_complex():
                raise ValueError(
                    f"layer {name!r} gives complex numbers ({output.dtype}), which have no single activation; choose a "
                    "layer after it, such as of their absolute values"
                )
            if not output.is_floating_point():
                raise ValueError(
                    f"layer {name!r} gives integers ({output.dtype}), which have no gradient; choose a layer before it"
                )
            _require_gradient(name, output, x)
        listed = self.trace.find(address)
        if batch_axis is None:  # several rows per image
            axis = listed.axis if listed is not None else 2
            found = Place(address, 0, axis, (), output.dtype, len(output), bool(interleaved))
        else:
            axis = listed.axis if listed is not None else unit_axis(output.movedim(batch_axis, 0), None)
            found = Place(address, batch_axis, axis, (), output.dtype)
        return found._replace(shape=tuple(found.in_order(output).shape[1:]))

    def ends_at(self, address: Address) -> bool:
        """Whether the model returns exactly this output, so that the forward pass need not be stopped."""
        name = address.module
        if self.trace.calls[name] != 1:
            return False
        made: list[tuple[Any, list[int]]] = []

        def note(call: Call) -> None:
            made.append((call.output, _versions(call.output)))

        try:
            with torch.inference_mode(False), torch.enable_grad():
                here = {name: dict(self.view.named_modules())[name]}
                returned = listen(here, note, lambda: self.run(self.some_images(1)))
        except ValueError:
            return False  # something fails after the layer, where sampling never goes
        # an in-place rectifier returns its own input, modified
        return len(made) == 1 and returned is made[0][0] and _versions(returned) == made[0][1]

    def coupled_before(self, addresses: Iterable[Address]) -> list[str]:
        """Batch norms that use batch statistics and run before the last of the given outputs."""
        made = [each.address for each in self.trace.outputs]
        reached = max(made.index(address) if address in made else len(made) for address in addresses)
        return [name for name, before in self.trace.coupled.items() if before <= reached]

    def _interleaved(self, output: Tensor, capture: Capture) -> bool | None:
        """Of an output with several rows per image: whether the first rows of all images come first; None: it has none,
        or the rows of an image cannot be told from those of another."""
        rows, images = len(output) if output.ndim > 1 else 0, self.some_images(2)
        if rows < 2:
            return None
        try:
            (both,), *alone = (capture(partial(self.run, x)) for x in (images, images[:1], images[1:]))
        except ValueError:
            return None  # the model takes one image at a time
        if both.shape != (2 * rows, *output.shape[1:]):
            return None
        expected = [one for (one,) in alone]
        for interleaved in (False, True):
            parts = [both[i::2] if interleaved else both[i * rows : (i + 1) * rows] for i in (0, 1)]
            if all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(parts, expected, strict=True)):
                return interleaved
        return None

    def _batch_axis(self, output: Tensor, capture: Capture) -> int | None:
        """The batch axis: the first, except for the states of recurrent layers, which are (layers, batch, …)."""
        if output.ndim < 2 or 1 not in output.shape:
            return None
        if output.ndim == 2 or (output.shape[0] == 1 and output.shape.count(1) == 1):
            return 0 if output.shape[0] == 1 else None
        try:
            (two,) = capture(lambda: self.run(self.some_images(2)))
        except ValueError:
            return 0 if output.shape[0] == 1 else None  # the model takes one image at a time
        shape = tuple(two.shape)
        grown = [axis for axis in range(output.ndim) if (output.shape[axis], shape[axis]) == (1, 2)]
        return grown[0] if grown and len(shape) == output.ndim else None


def _require_gradient(name: str, output: Tensor, x: Tensor) -> None:
    try:
        grad = torch.autograd.grad(output.sum(), x, allow_unused=True)[0] if output.requires_grad else None
    except RuntimeError as error:  # e.g. re-entrant checkpointing, which autograd.grad cannot follow
        raise ValueError(
            f"layer {name!r} has no gradient with respect to the input: {error} Choose another layer, or fix the path."
        ) from error
    if grad is None:
        cut = "is cut (torch.no_grad or inference_mode, .detach(), an integer or argmax step) or does not start there"
        if output.is_inference():
            cut = "runs under torch.inference_mode"
        raise ValueError(
            f"no gradient reaches the input from layer {name!r}: its path {cut}. Choose another layer, or fix the path."
        )


def _versions(output: Any) -> list[int]:
    """Version counters of the tensors in an output."""
    return [tensor._version for _, tensor in tensors(output)]
