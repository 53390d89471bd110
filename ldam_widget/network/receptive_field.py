"""Receptive fields: the pixels that a unit of a network can depend on.

Two measurements, and the smallest box around both. First, NaN: a unit can depend on some pixels if it becomes NaN when
they are NaN. Weights, closed rectifiers and the choice of a max-pooling do not matter, so this is exact for any stack
of convolutions, poolings, norms and activations. Second, the gradient at random images, for networks that discard NaN
on the way (`torch.where`, `nan_to_num`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

import torch
from torch import Tensor, nn

from ..core.notes import QuietNotes
from .capture import Capture
from .surroundings import undisturbed
from .trace import Preprocess, check_shape
from .traced import Traced
from .units import centre
from .view import private_view

_CPU = torch.device("cpu")  # elsewhere, convolutions by Winograd or Fourier transforms would spread NaN too far
_IMAGES = 2  # whose gradients are looked at


class Box(NamedTuple):
    """A part of a picture, ``x[..., top:bottom, left:right]``."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def around(self, other: Box) -> Box:
        """The smallest box with both in it."""
        (top, left), (bottom, right) = map(min, self[:2], other[:2]), map(max, self[2:], other[2:])
        return Box(top, left, bottom, right)


@overload
def receptive_field(
    model: nn.Module,
    layer: str,
    input_shape: Sequence[int],
    preprocess: Preprocess | None = None,
    *,
    at: None = None,
) -> tuple[int, int]: ...


@overload
def receptive_field(
    model: nn.Module,
    layer: str,
    input_shape: Sequence[int],
    preprocess: Preprocess | None = None,
    *,
    at: Sequence[int],
) -> Box: ...


@torch.inference_mode(False)
@undisturbed()
def receptive_field(
    model: nn.Module,
    layer: str,
    input_shape: Sequence[int],
    preprocess: Preprocess | None = None,
    *,
    at: Sequence[int] | None = None,
) -> tuple[int, int] | Box:
    """The pixels that a unit can depend on: their (height, width), or where they are.

    ``ldam.receptive_field(net, "conv2", (3, 32, 32))`` is the size for the unit at the centre of the map, and
    ``top, left, bottom, right = ldam.receptive_field(net, "conv2", (3, 32, 32), at=(0, 0))`` the box of another one.

    Exact for convolutions, poolings, norms and activations, whatever the weights. Only pixels of the picture count, not
    the padding around it. A global pooling, an attention or a linear layer sees the whole picture.

    Args:
        model: any `nn.Module`; left unchanged.
        layer: a name as in `ldam.layers`.
        input_shape: of one image, (…, height, width); e.g. (1, 28, 28).
        preprocess: x in pixel range -> model input.
        at: the place of a unit on the layer's map, e.g. (y, x); () if the layer has no map. None: the centre.

    Returns:
        (height, width) in pixels; with `at`, the box (top, left, bottom, right), ends excluded.

    Raises:
        ValueError: unknown layer, a shape that does not fit the model or has no height and width, a place outside the
            map, or a unit that depends on no pixel.
        TypeError: `model` is not a module.
    """
    view = private_view(model, _CPU, QuietNotes(), shared=False)
    box = Fields(view, layer, check_shape(input_shape), preprocess).box(at)
    return (box.height, box.width) if at is None else box


class Fields:
    """The receptive fields of one layer's units.

    Args:
        view: a private view of the model with weights of its own, on the CPU: NaN may be written into them.
        layer, input_shape, preprocess: as for `receptive_field`.
    """

    def __init__(
        self, view: nn.Module, layer: str, input_shape: tuple[int, ...], preprocess: Preprocess | None
    ) -> None:
        if len(input_shape) < 2:
            raise ValueError(f"a receptive field needs images with height and width; got input_shape={input_shape}")
        self._capture = Capture(view, [layer])
        self._traced = Traced.of(view, input_shape, preprocess, layer, QuietNotes())
        self._place = self._traced.place(self._capture.places[0])
        self._layer = layer

    def box(self, at: Sequence[int] | None) -> Box:
        """The box of the units at a place, of all channels together; None: the centre. Raises ValueError."""
        place = self._checked(at)
        reached = self._by_gradient(place)
        if reached is not None and not self._looks_outside(reached, place):
            return reached  # the usual case: three passes instead of thirty
        found = [box for box in (self._by_nan(place), reached) if box is not None]
        if not found:
            raise ValueError(f"the unit at {place} of layer {self._layer!r} depends on no pixel")
        return found[0].around(found[-1])

    def _checked(self, at: Sequence[int] | None) -> tuple[int, ...]:
        positions = self._place.shape[1:]
        if at is None:
            return centre(positions)
        try:
            place = tuple(operator.index(each) for each in at)
        except TypeError:
            place = (-1,)
        if len(place) != len(positions) or any(
            not 0 <= each < size for each, size in zip(place, positions, strict=True)
        ):
            size = "×".join(map(str, positions))
            wanted = f"a place on a map of size {size}" if positions else "(): the layer has no map"
            raise ValueError(f"at must be {wanted} in layer {self._layer!r}; got {at!r}")
        return place

    def _units(self, x: Tensor, place: tuple[int, ...]) -> Tensor:
        """The units of all channels at a place, for one image: (units,)."""
        with torch.enable_grad():  # without it, transformers take a fast path that does not run the modules inside
            (output,) = self._capture(lambda: self._traced.run(x))
        units: Tensor = self._place.in_order(output)[0].movedim(0, -1)
        return units[place]

    def _is_nan(self, image: Tensor, place: tuple[int, ...]) -> bool:
        """Whether a unit is NaN for an image."""
        return bool(self._units(image[None].requires_grad_(True), place).isnan().any())

    def _looks_outside(self, box: Box, place: tuple[int, ...]) -> bool:
        """Whether NaN around a box arrives."""
        (image,) = self._traced.some_images(1).detach()
        around = torch.full_like(image, torch.nan)
        inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
        around[inside] = image[inside]
        return self._is_nan(around, place)

    def _by_nan(self, place: tuple[int, ...]) -> Box | None:
        """None: NaN does not arrive."""
        (image,) = self._traced.some_images(1).detach()

        def arrives(axis: int, first: int, end: int) -> bool:
            """Whether NaN in rows (axis −2) or columns (−1) `first` … `end` − 1 arrives."""
            x = image.clone()
            x.narrow(axis, first, end - first).fill_(torch.nan)
            return self._is_nan(x, place)

        height, width = image.shape[-2:]
        if not arrives(-1, 0, width):
            return None
        top = _first(lambda k: arrives(-2, 0, k), height)
        left = _first(lambda k: arrives(-1, 0, k), width)
        bottom = height - _first(lambda k: arrives(-2, height - k, height), height)
        right = width - _first(lambda k: arrives(-1, width - k, width), width)
        return Box(top, left, bottom, right)

    def _by_gradient(self, place: tuple[int, ...]) -> Box | None:
        """None: the gradient is zero."""
        found: Box | None = None
        own = torch.Generator().manual_seed(0)
        for image in self._traced.some_images(_IMAGES).detach():
            x = image[None].requires_grad_(True)
            units = self._units(x, place)
            seed = torch.rand(units.shape, generator=own).to(units)  # all ones might cancel
            (grad,) = torch.autograd.grad((units * seed).sum(), x, allow_unused=True)  # see `core.vjp`
            box = None if grad is None else box_of(grad[0] != 0)
            found = found.around(box) if found and box else found or box
        return found


def box_of(mask: Tensor) -> Box | None:
    """The smallest box around the true pixels of (…, height, width); None: there are none."""
    flat = mask.reshape(-1, *mask.shape[-2:]).any(0)
    rows, columns = flat.any(1).nonzero().flatten().tolist(), flat.any(0).nonzero().flatten().tolist()
    return Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None


def _first(arrives: Callable[[int], bool], size: int) -> int:
    """How many lines can be NaN without a unit becoming NaN, where all `size` of them do; by bisection."""
    if arrives(1):
        return 0
    silent, heard = 1, size
    while heard - silent > 1:
        middle = (silent + heard) // 2
        silent, heard = (silent, middle) if arrives(middle) else (middle, heard)
    return silent
