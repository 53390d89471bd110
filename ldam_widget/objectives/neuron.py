"""Turn `layer` and `neurons` into f_α(x): one activation a chain, the forward pass stopped at the layer.

A neuron is a linear read-out of a layer's output: one unit, the mean of a channel, or a direction. Its gradient is
therefore one backward pass from the layer, seeded with the read-out.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..execution.recordings import Recordings
from ..network import memory
from ..network.addresses import Address, describe, example, parse, parts, select, tensors, unit_axis
from ..network.capture import Call, Capture, listen
from ..network.leaky import Leaky, backward, check_leaky
from ..network.readout import ALL, Readout
from ..network.trace import Layer, LayerTable, Preprocess, check_shape, layers, run, trace
from ..network.units import LayerUnits, Neuron, as_list, layer_of_strings
from ..network.view import device_of, dtype_of, weights_of

__all__ = ["Layer", "LayerTable", "Neuron", "Neurons", "Preprocess", "check_shape", "layers"]

_SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
_EVERY = 30.0  # seconds after which memory that was short is looked at again
_SAME_UNITS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class Neurons:
    """f_α for a list of neurons of one layer: the neuron term of the target.

    Args:
        view: a private view of the model (`models.private_view`).
        layer: dotted name, with "#2" for a second call and "[0]" or "[key]" into a tuple or dict; None is the last
            layer before any softmax.
        neurons: ints, (channel, y, x) tuples, strings "5", "5@3,4", "layer:5", class names, or direction tensors of
            shape (units,) or of the layer's whole output for one image. Units are channels of a map and features of a
            token, by the rule of `outputs.unit_axis`; "5@7" is feature 5 of token 7.
        chains: chains a neuron; the batch axis counts neurons × chains, neuron first.
        input_shape, preprocess: as for `layers`.
        class_names: names of the layer's units, used wherever one is named.
        at: where on the map, or among the tokens, an int looks: "center" (as the original program) or "mean".
        notes: receives what the user will want to know.
        default_layer: where neither `layer` nor a neuron names one, instead of the last layer.
        leaky: 0 ≤ slope < 1 that shut rectifiers have in the backward pass (see `leaky.Leaky`); 0 is the true gradient.

    Raises:
        ValueError: unknown layer, neuron out of range, empty list, no gradient; the message says what would work.
    """

    def __init__(
        self,
        view: nn.Module,
        layer: str | None,
        neurons: Iterable[Any] | None,
        *,
        chains: int,
        input_shape: tuple[int, ...],
        preprocess: Preprocess | None = None,
        class_names: Sequence[str] | None = None,
        at: Literal["center", "mean"] = "center",
        notes: Notes | None = None,
        default_layer: str | None = None,
        leaky: float = 0.0,
    ) -> None:
        if at not in ("center", "mean"):
            raise ValueError(f"at must be 'center' or 'mean'; got {at!r}")
        self.leaky = check_leaky(leaky)
        self._view, self._preprocess, self.image_shape = view, preprocess, input_shape
        self._dtype = dtype_of(view)
        notes = Notes() if notes is None else notes
        wanted = as_list(neurons)
        layer, wanted = layer_of_strings(layer, wanted)
        layer = default_layer if layer is None else layer
        self._trace = trace(view, input_shape, preprocess, layer, notes)
        self.layers = self._trace.table
        self._address = self._choose_layer(layer, notes)
        self.layer = str(self._address)
        self.run_by(view, torch.contiguous_format)
        self._batch_axis, self._unit_axis = 0, 1
        output = self._probe()
        self.output_shape: tuple[int, ...] = tuple(output.shape[1:])  # (units, *positions)
        self.units = self.output_shape[0]
        # names of the classes belong to the network's outputs; a hidden layer that happens to be listed has none
        named = class_names is not None and len(class_names) == self.units
        self.unit_names: Sequence[str] = class_names if named and class_names is not None else ()
        if wanted is None:
            wanted = list(range(min(10, self.units)))
        if not wanted:
            raise ValueError("neurons must name at least one neuron; got an empty list")
        self._units = LayerUnits(self.layer, self.output_shape, self._unit_axis, self.unit_names)
        self.neurons = [self._units.resolve(neuron, at, i) for i, neuron in enumerate(wanted)]
        keys = [neuron.key for neuron in self.neurons]
        if len(set(keys)) < len(keys):
            raise ValueError(f"neurons must differ from each other; got {', '.join(keys)}")
        self._readout = Readout(self.neurons, self.output_shape, chains, device_of(view), output.dtype)
        self._is_last = self._ends_the_model()
        self._coupled = self._batch_norms_of_the_batch()
        # a batch whose images depend on each other cannot be taken apart
        self._bytes_each, self.at_once = 0.0, self.count
        if self.count > 1 and not self._coupled:
            self._bytes_each = self._bytes_of_an_image()
            self.at_once = memory.images_at_once(self._bytes_each, self.count, self._readout.device)
        self._look_again = time.monotonic() + _EVERY
        self._notes = notes
        self._tell(notes)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> activation (chain,) and its gradient with respect to x, both float32.

        The gradient is that of the sum over the batch: every chain has its own, whatever else is in the batch.
        """
        if torch.is_inference_mode_enabled():  # of the caller's; nothing made in it could have a gradient
            with torch.inference_mode(False):
                return self.evaluate(x)
        if self.at_once < self.count:
            self._use_freed_memory(x)
        while True:
            try:
                if len(x) <= self.at_once:
                    return self._evaluate(x, ALL)
                parts = [slice(first, first + self.at_once) for first in range(0, len(x), self.at_once)]
                values, grads = zip(*(self._evaluate(x[part], part) for part in parts), strict=True)
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
            if x.device.type == "cuda":  # now that the error has let go of what was made
                torch.cuda.empty_cache()

    def _use_freed_memory(self, x: Tensor) -> None:
        """Memory that was short may have been given back by others: look now and then."""
        if self._coupled or _captured(x) or time.monotonic() < self._look_again:
            return
        fitting = memory.images_at_once(self._bytes_each, self.count, x.device)
        if fitting >= min(2 * self.at_once, self.count):  # a few more are not worth another recording
            self._take_at_once(fitting)
        self._look_again = time.monotonic() + _EVERY

    def _take_at_once(self, images: int) -> None:
        self.at_once = images
        if self._recordings is not None:
            self._recordings.clear()

    def _evaluate(self, x: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Of some chains, which fit into memory at once."""
        seed = self._readout.seed(part)
        if self._recordings is None:
            output, grad = self._differentiate(x, seed)
        else:
            output, grad = self._recordings(self._differentiate, x, seed)
        return self._readout.read(output, part), grad

    def _differentiate(self, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's output, and the gradient of its product with the seed."""
        with torch.enable_grad(), Leaky(self.leaky) if self.leaky else nullcontext():
            x = x.detach().requires_grad_(True)
            output = self._forward(x)
            (grad,) = backward(output, x, seed) if self.leaky else torch.autograd.grad(output, x, seed)
        return output.detach(), grad.contiguous()

    @torch.inference_mode(False)
    def activations(self, x: Tensor) -> Tensor:
        """x (images, *image) -> activation of every neuron (images, N) float32, without a gradient."""
        with torch.no_grad():
            return self._readout.read_all(self._forward(x.to(self._readout.device)))

    def unit(self, key: str) -> Neuron:
        """Resolve one neuron of this layer by its key; for the picker."""
        return self._units.resolve(key, "center", 0)

    # ---- how the network is run (see `execution`) ------------------------------------------------------------------

    @property
    def module_name(self) -> str:
        """Dotted name of the layer's module."""
        return self._address.module

    @property
    def count(self) -> int:
        """Images in a batch."""
        return self._readout.count

    def run_by(
        self, network: nn.Module, memory_format: torch.memory_format, recordings: Recordings | None = None
    ) -> None:
        """Run this network from now on, which computes what the view does in modules of the same names."""
        self._network, self._memory_format, self._recordings = network, memory_format, recordings
        self._capture = Capture(network, [self._address])

    def some_images(self, count: int) -> Tensor:
        """Random images that need gradients; nobody's random numbers are used up."""
        device = device_of(self._view)
        own = torch.Generator(device).manual_seed(0)
        return torch.rand(count, *self.image_shape, generator=own, device=device, dtype=torch.float32).requires_grad_(
            True
        )

    def try_out(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's output for some images, and the gradient of its sum."""
        with torch.inference_mode(False), torch.enable_grad():
            seed = torch.ones(len(x), *self.output_shape, dtype=self._readout.dtype, device=x.device)
            if self._recordings is not None:
                output, grad = self._recordings(self._differentiate, x, seed, strict=True)
                return output, grad
            return self._differentiate(x, seed)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _forward(self, x: Tensor) -> Tensor:
        """x -> (chain, units, *positions)."""
        if self._trace.writes_input:
            x = x.clone()  # or the model would write into the chains themselves
        inputs = self._preprocess(x) if self._preprocess is not None else x
        inputs = inputs.to(self._dtype)
        if self._memory_format is torch.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self._is_last:
            return self._in_order(select(self._network(inputs), self._address))
        (output,) = self._capture(lambda: self._network(inputs))
        return self._in_order(output)

    def _in_order(self, output: Tensor) -> Tensor:
        if self._batch_axis != 0:
            output = output.movedim(self._batch_axis, 0)
        return output if self._unit_axis == 1 else output.movedim(self._unit_axis, 1)

    def _ends_the_model(self) -> bool:
        """Is the layer's output what the model returns? Then the forward pass need not be stopped."""
        name = self._address.module
        if self._trace.calls[name] != 1:
            return False
        made: list[tuple[Any, list[int]]] = []

        def note(call: Call) -> None:
            made.append((call.output, _versions(call.output)))

        try:
            with torch.inference_mode(False), torch.enable_grad():
                returned = listen({name: self._view.get_submodule(name)}, note, lambda: self._run(self.some_images(1)))
        except ValueError:
            return False  # something fails behind the layer, where sampling never goes
        # a rectifier in place returns what it was given, changed
        return len(made) == 1 and returned is made[0][0] and _versions(returned) == made[0][1]

    def _choose_layer(self, layer: str | None, notes: Notes) -> Address:
        known = self._trace.names
        rows = [made for made in self._trace.made if made.listed]
        leaves = [made for made in rows if made.layer.leaf]
        makers = [made for made in leaves if not isinstance(made.module, (*_SOFTMAX, *_SAME_UNITS))]
        makers = [made for made in makers if not made.address.keys] or makers  # tuples only if there is nothing else
        if layer is None and not makers:
            raise ValueError("model runs no layer with neurons; give layer= the dotted name of one of its modules")
        asked = parse(layer, known) if isinstance(layer, str) else None
        last = leaves[-1] if leaves else None
        if last is not None and makers and isinstance(last.module, _SOFTMAX) and (layer is None or asked == last[0]):
            notes.tell(
                f"the model ends in {last.layer.type} ({last.layer.name!r}), whose outputs saturate and compete; "
                f"sampling the layer before it, {makers[-1].layer.name!r}"
            )
            return makers[-1].address
        if layer is None:
            return makers[-1].address
        if asked is None or (layer == "" and not leaves):
            near = difflib.get_close_matches(str(layer), [name for name in known if name], n=3, cutoff=0.4)
            listed = ", ".join(made.layer.name for made in rows[:30]) + (", …" if len(rows) > 30 else "")
            hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
            raise ValueError(f"unknown layer {layer!r}.{hint} The forward pass runs: {listed}")
        calls = self._trace.calls[asked.module]
        if asked.call > max(calls, 1):
            raise ValueError(
                f"layer {layer!r} is call {asked.call} of {asked.module!r}, which the forward pass runs "
                f"{calls} time{'s' if calls > 1 else ''}; choose "
                + " or ".join(repr(str(asked._replace(call=i + 1))) for i in range(min(calls, 4)))
            )
        return asked

    def _run(self, x: Tensor) -> Any:
        return run(self._view, x.clone(), self._preprocess, self.image_shape)

    def _probe(self) -> Tensor:
        """The layer's output for one image, in order, having made sure that a gradient reaches the pixels."""
        name, address = self.layer, self._address
        with torch.inference_mode(False), torch.enable_grad():
            x = self.some_images(1)
            (output,) = self._capture(lambda: self._run(x))
            if not isinstance(output, Tensor):
                if parts(output) is None:
                    raise ValueError(
                        f"layer {name!r} gives {describe(output)} for a batch of one image; neurons need an output "
                        "(batch, units, …)"
                    )
                raise ValueError(
                    f"layer {name!r} returns {describe(output)}, not one tensor; choose {example(address, output)}"
                )
            batch_axis = self._find_batch(output)
            if batch_axis is None:
                raise ValueError(
                    f"layer {name!r} gives {tuple(output.shape)} for a batch of one image; neurons need an output "
                    "(batch, units, …)"
                )
            if not output.is_floating_point():
                raise ValueError(
                    f"layer {name!r} gives integers ({output.dtype}), which have no gradient; choose a layer before it"
                )
            try:
                grad = torch.autograd.grad(output.sum(), x, allow_unused=True)[0] if output.requires_grad else None
            except RuntimeError as error:  # e.g. re-entrant checkpointing, which autograd.grad cannot follow
                raise ValueError(
                    f"layer {name!r} has no gradient with respect to the input: {error} Choose another layer, or mend "
                    "the path."
                ) from error
            if grad is None:
                raise ValueError(
                    f"no gradient reaches the input from layer {name!r}: its path is cut (torch.no_grad, .detach(), an "
                    "integer or argmax step) or does not start at the input. Choose another layer, or mend the path."
                )
        made = self._trace.find(address)
        self._batch_axis = batch_axis
        self._unit_axis = made.axis if made is not None else unit_axis(output.movedim(batch_axis, 0), None)
        return self._in_order(output.detach())

    def _find_batch(self, output: Tensor) -> int | None:
        """The axis that counts images: the first, but for recurrent layers, whose states are (layers, batch, …)."""
        if output.ndim < 2 or 1 not in output.shape:
            return None
        if output.ndim == 2 or (output.shape[0] == 1 and output.shape.count(1) == 1):
            return 0 if output.shape[0] == 1 else None
        try:
            (two,) = self._capture(lambda: self._run(self.some_images(2)))
        except ValueError:
            return 0 if output.shape[0] == 1 else None  # made for one image at a time
        shape = tuple(two.shape)
        grown = [axis for axis in range(output.ndim) if (output.shape[axis], shape[axis]) == (1, 2)]
        return grown[0] if grown and len(shape) == output.ndim else None

    def _bytes_of_an_image(self) -> float:
        with torch.inference_mode(False), torch.enable_grad():
            passes = memory.bytes_of_passes(lambda: self._forward(self.some_images(1)), weights_of(self._view))
        return passes + self._readout.bytes_of_seed

    def _batch_norms_of_the_batch(self) -> list[str]:
        """Batch norms before the layer that use the statistics of the batch."""
        addresses = [made.address for made in self._trace.made]
        reached = addresses.index(self._address) if self._address in addresses else len(addresses)
        return [name for name, before in self._trace.coupled.items() if before <= reached]

    def _tell(self, notes: Notes) -> None:
        if self.at_once < self.count:
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
            "fewer neurons or chains, or memory that is given back, help"
        )


def _versions(output: Any) -> list[int]:
    """How often each tensor in it was written to."""
    return [tensor._version for _, tensor in tensors(output)]


def _captured(x: Tensor) -> bool:
    """Is this being recorded as a CUDA graph, whose memory is not what is free?"""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
