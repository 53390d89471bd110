"""`Objective`: for every column of the picture, a scalar function of outputs at some places in the network.

One forward pass yields the outputs of all places and stops after the last of them. The gradient is one backward pass
from there, seeded with the gradients of the scalars with respect to the outputs.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.random_numbers import drawing_from
from ..core.vjp import vjp
from ..execution.recordings import Recordings, Tensors
from ..network import memory
from ..network.addresses import select
from ..network.capture import Capture
from ..network.first_pass import findings
from ..network.leaky import Leaky, check_leaky
from ..network.readout import ALL
from ..network.surroundings import surroundings
from ..network.traced import Place, Traced
from ..network.view import dtype_of, weights_of
from .independence import Batches, check_batches

# of a view, by layer: the check costs as much as a few images of a step
_checked: weakref.WeakKeyDictionary[nn.Module, dict[Any, Batches]] = weakref.WeakKeyDictionary()
_EVERY = 30.0  # seconds between checks for freed memory after a shortage


class Scalars(Protocol):
    """One scalar function per column, the same for all its chains.

    Outputs are one tensor per place, (image, units, *positions) each. The images of a batch are the chains, column by
    column; when memory is short, they are computed in parts. `network.readout.Readout` is the simplest: a linear
    function of one place.
    """

    @property
    def count(self) -> int:
        """Total number of chains."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def bytes_each(self) -> int:
        """Bytes of `given` for one chain."""
        ...

    def given(self, part: slice) -> Tensors:
        """Inputs of `seeds` for some chains, (chain, …) each; recordings take them as inputs, like the images."""
        ...

    def seeds(self, outputs: Tensors, given: Tensors) -> Tensors:
        """Gradients of the chains' scalars with respect to the outputs; like the outputs."""
        ...

    def read(self, outputs: Tensors, part: slice) -> Tensor:
        """The scalars of some chains, (chain,) float32."""
        ...

    def read_all(self, outputs: Tensors) -> Tensor:
        """The scalar of every column, for any images: (images, columns) float32."""
        ...


class Objective:
    """The objective: the neuron term of the target.

    Args:
        traced: the model.
        places: the outputs that are read, one or several.
        scalars: functions of those outputs.
        notes: receives notes for the user.
        leaky: slope of inactive rectifiers in the backward pass, 0 ≤ leaky < 1 (see `leaky.Leaky`); 0 is the true
            gradient.
    """

    def __init__(
        self, traced: Traced, places: Sequence[Place], scalars: Scalars, *, notes: Notes, leaky: float = 0.0
    ) -> None:
        self.leaky = check_leaky(leaky)
        self._traced, self._places, self._scalars, self._notes = traced, tuple(places), scalars, notes
        addresses = [place.address for place in places]
        self.reads = ", ".join(map(str, addresses))  # as the user writes it
        self._dtype = dtype_of(traced.view)
        # a model that draws random numbers must not take them from the user's generators
        self._own = torch.Generator().manual_seed(0) if findings(traced.view).uses_generator else None
        self._around = surroundings(traced.view)
        self._is_last = len(places) == 1 and traced.ends_at(addresses[0])
        self.run_by(traced.view, torch.contiguous_format)
        self._coupled = traced.coupled_before(addresses)
        # a batch whose images depend on each other cannot be split
        self._batches, self._bytes_each, self.at_once = Batches(), 0.0, self.count
        self._mixes: bool | None = None  # whether images of a batch influence each other; None: not looked at
        if not self._coupled:
            if self.count > 1:
                self._bytes_each = self._bytes_of_an_image()
            self._batches = self._checked_batches()
            self.at_once = self._fitting(scalars.device)
        self._look_again = time.monotonic() + _EVERY
        self._tell(notes)

    def evaluate(self, x: Tensor, scalars: Scalars | None = None) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> activation (chain,) and its gradient with respect to x, both float32.

        The gradient is that of the sum over the batch, so every chain's is independent of the rest of the batch.

        Args:
            x: the images.
            scalars: the objective's own, with another `given`; None is the objective's own.
        """
        if torch.is_inference_mode_enabled():  # the caller's; tensors created in it cannot have gradients
            with torch.inference_mode(False):
                return self.evaluate(x, scalars)
        scalars = self._scalars if scalars is None else scalars
        if self.at_once < self.count:
            self._use_freed_memory(x)
        while True:
            try:
                if len(x) <= self.at_once:
                    return self._evaluate(x, ALL, scalars, len(x) < self._batches.least)
                parts = [slice(first, first + self.at_once) for first in range(0, len(x), self.at_once)]
                least = self._batches.least
                values, grads = zip(
                    *(self._evaluate(x[part], part, scalars, len(x[part]) < least) for part in parts), strict=True
                )
                return torch.cat(values), torch.cat(grads)
            except Exception as error:
                if (
                    not memory.is_out_of_memory(error)
                    or min(self.at_once, len(x)) == 1
                    or self._coupled
                    or _captured(x)
                ):
                    raise
            self._take_at_once(-(-min(self.at_once, len(x)) // 2))
            self._bytes_each = max(self._bytes_each, memory.budget(x.device) / self.at_once)
            self._tell_parts()
            if x.device.type == "cuda":  # after the error has released its tensors
                torch.cuda.empty_cache()

    @torch.inference_mode(False)
    def activations(self, x: Tensor, scalars: Scalars | None = None) -> Tensor:
        """x (images, *image) -> activation of every column (images, N) float32, without a gradient."""
        scalars = self._scalars if scalars is None else scalars
        with torch.no_grad():
            return torch.cat([scalars.read_all(self._forward(part)) for part in self.in_batches(x)])

    @torch.inference_mode(False)
    def in_batches(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (images, *image) in parts whose images do not influence each other, on the network's device."""
        x = x.to(self._scalars.device)
        if len(x) < 2 or self._coupled:
            return (x,)
        if self._mixes is None:
            self._mixes = self._batches.most is not None or (
                not findings(self._traced.view).draws and not self._same_alone(x)
            )
        return torch.split(x, 1) if self._mixes else (x,)

    @torch.no_grad()
    def _same_alone(self, x: Tensor) -> bool:
        """Whether activations of some images are those of each alone; a single chain has never been in a batch."""
        try:
            together = self._scalars.read_all(self._forward(x))
        except Exception as error:
            if memory.is_out_of_memory(error):
                raise
            return False  # the model takes one image at a time
        some = sorted({0, len(x) // 2, len(x) - 1})
        alone = torch.cat([self._scalars.read_all(self._forward(x[i : i + 1])) for i in some])
        off = (together[some] - alone).abs().amax(0)
        return bool((~(off > self._tolerance * together.abs().amax(0))).all())

    # ---- how the network is run (see `execution`) ------------------------------------------------------------------

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self._traced.image_shape

    @property
    def read_modules(self) -> frozenset[str]:
        """Dotted names of the modules whose outputs are read."""
        return frozenset(place.address.module for place in self._places)

    @property
    def count(self) -> int:
        """Images in a batch."""
        return self._scalars.count

    @property
    def in_parts(self) -> bool:
        """Whether memory is too short for all images of a step at once."""
        return not self._coupled and self.at_once < min(self.count, self._batches.most or self.count)

    def run_by(
        self, network: nn.Module, memory_format: torch.memory_format, recordings: Recordings | None = None
    ) -> None:
        """Run this network from now on; it must be equivalent to the view, with the same module names."""
        self._network, self._memory_format = network, memory_format
        self._recordings = (
            recordings if self._own is None and self._around is None else None
        )  # would repeat its numbers
        self._capture = Capture(network, [place.address for place in self._places])

    @property
    def network(self) -> nn.Module:
        """The one that is run."""
        return self._network

    def forget_recordings(self) -> None:
        """Record anew, if it is recorded: memory has moved."""
        if self._recordings is not None:
            self._recordings.clear()

    def some_images(self, count: int) -> Tensor:
        """Random images that require gradients, from a private generator."""
        return self._traced.some_images(count)

    def try_out(self, x: Tensor) -> Tensors:
        """The outputs for some images, at most as many as chains, and a gradient (of their sum if linear)."""
        with torch.inference_mode(False), torch.enable_grad():
            given = [torch.ones_like(tensor) for tensor in self._scalars.given(slice(0, len(x)))]
            if self._recordings is not None:
                return self._recordings(self._differentiate, x, *given, strict=True)
            return self._differentiate(x, *given)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _evaluate(self, x: Tensor, part: slice, scalars: Scalars, twice: bool = False) -> tuple[Tensor, Tensor]:
        """Evaluate some chains that fit into memory at once; `twice`: a single image in a batch of two."""
        given = scalars.given(part)
        if twice:
            x, given = torch.cat([x, x]), tuple(torch.cat([each, each]) for each in given)
        if self._recordings is None:
            *outputs, grad = self._differentiate(x, *given)
        else:
            *outputs, grad = self._recordings(self._differentiate, x, *given)
        if twice:
            outputs, grad = [output[:1] for output in outputs], grad[:1]
        return scalars.read(tuple(outputs), part), grad

    def _values(self, x: Tensor, part: slice) -> Tensor:
        """The scalars of some chains; with gradients on, without which some models run other code."""
        with torch.enable_grad():
            outputs = self._forward((x.clone() if x.is_inference() else x.detach()).requires_grad_(True))
        return self._scalars.read(tuple(output.detach() for output in outputs), part)

    def _differentiate(self, x: Tensor, *given: Tensor) -> Tensors:
        """The outputs, and the gradient of the scalars."""
        with torch.enable_grad(), Leaky(self.leaky) if self.leaky else nullcontext():
            x = (x.clone() if x.is_inference() else x.detach()).requires_grad_(True)
            outputs = self._forward(x)
            made = tuple(output.detach() for output in outputs)
            seeds = self._scalars.seeds(made, given)
            grad = vjp(outputs, x, seeds)
        return (*made, grad.contiguous())

    def _forward(self, x: Tensor) -> Tensors:
        """x -> (chain, units, *positions) of every place."""
        if self._around is not None:
            with self._around.around_a_pass(self._own):
                return self._outputs(x)
        if self._own is None:
            return self._outputs(x)
        with drawing_from(self._own):
            return self._outputs(x)

    def _outputs(self, x: Tensor) -> Tensors:
        preprocess = self._traced.preprocess
        if self._traced.trace.writes_input:
            x = x.clone()  # otherwise the model would write into the chains
        inputs = preprocess(x) if preprocess is not None else x
        inputs = inputs.to(self._dtype)
        if self._memory_format is torch.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self._is_last:
            outputs = [select(self._network(inputs), self._places[0].address)]
        else:
            outputs = self._capture(lambda: self._network(inputs))
        ordered = tuple(place.in_order(output) for place, output in zip(self._places, outputs, strict=True))
        for place, output in zip(self._places, ordered, strict=True):
            if output.shape[1:] != place.shape:
                raise ValueError(
                    f"layer {str(place.address)!r} gives {tuple(output.shape[1:])} for one image and {place.shape} for "
                    "another; neurons need an output of one size. Choose a layer before it"
                )
        return ordered

    def _use_freed_memory(self, x: Tensor) -> None:
        """Check now and then whether memory has been freed since a shortage."""
        if self._coupled or _captured(x) or time.monotonic() < self._look_again:
            return
        fitting = self._fitting(x.device)
        if fitting >= min(2 * self.at_once, self.count):  # a few more do not justify a new recording
            self._take_at_once(fitting)
        self._look_again = time.monotonic() + _EVERY

    def _fitting(self, device: torch.device) -> int:
        """How many images can be computed at once."""
        if self._batches.most is not None:
            return min(self._batches.most, self.count)
        return memory.images_at_once(self._bytes_each, self.count, device) if self.count > 1 else 1

    def _checked_batches(self) -> Batches:
        if findings(self._traced.view).draws:
            return Batches()  # by chance, nothing is the same twice
        known = _checked.setdefault(self._traced.view, {})
        images = self._fitting(self._scalars.device)
        key = self.reads, self.leaky, images, self._readers

        def evaluate(x: Tensor, part: slice, twice: bool) -> tuple[Tensor, Tensor]:
            return self._evaluate(x, part, self._scalars, twice)

        if key not in known or self._readers is None:
            with torch.inference_mode(False):
                x = self._traced.some_images(images).detach()
                known[key] = check_batches(self._values, evaluate, x, self._tolerance)
        return known[key]

    @property
    def _readers(self) -> tuple[str, ...] | None:
        """What tells these scalars from others of the same places, which may mix a batch where these do not."""
        return None

    @property
    def _tolerance(self) -> float:
        """Relative, of activations that should be equal."""
        return 1e-3 if self._dtype in (torch.float32, torch.float64) else 5e-2

    def _take_at_once(self, images: int) -> None:
        self.at_once = images
        self.forget_recordings()

    def _bytes_of_an_image(self) -> float:
        with torch.inference_mode(False), torch.enable_grad():
            weights = weights_of(self._traced.view)
            passes = memory.bytes_of_passes(lambda: self._forward(self.some_images(1)), weights)
        return passes + self._scalars.bytes_each

    def _tell(self, notes: Notes) -> None:
        if self._batches.note:
            notes.tell(self._batches.note)
        elif self.at_once < self.count:
            self._tell_parts()
        mixing = self._coupled
        if mixing and self.count > 1:
            notes.tell(
                f"batch norm {mixing[0]!r} keeps no running statistics and uses those of the batch: the chains of one "
                "batch depend on each other, and change with neurons and chains"
            )
        if self.leaky:
            notes.tell(
                f"the backward pass is leaky (slope {self.leaky:g}): gradients are not those of the activation, "
                "samples follow no stated density"
            )

    def _tell_parts(self) -> None:
        self._notes.tell(
            "memory is short: the images of a step are computed in parts, one after the other, which is slower; "
            "fewer neurons or chains, or freeing memory, help"
        )


def _captured(x: Tensor) -> bool:
    """Whether a CUDA graph is being captured; its memory is not reflected in what is free."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
