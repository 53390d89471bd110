"""Does another network, which had no part in the sampling, recognise the pictures?"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.notes import QuietNotes
from ...network.addresses import describe, tensors
from ...network.capture import Call, listen
from ...network.first_pass import first_pass
from ...network.surroundings import passing
from ...network.trace import Preprocess
from ...network.view import device_of, dtype_of, private_view

SAME_CLASS = 0.3  # correlation over real images above which outputs of the same number mean the same class
SAME_UNIT = 0.5  # correlation over real images above which a unit of the judge stands for a hidden neuron
STRONG = 0.95  # share of the real images that a picture must surpass in that unit to count as recognised
_OUTPUT = "its output"


class Match(NamedTuple):
    """What in the judge corresponds to a neuron."""

    words: str  # for the user
    layer: str = ""  # "" if nothing corresponds
    unit: int = 0
    threshold: float | None = None  # activation above which a picture is recognised; None: the unit must be the largest
    sign: float = 1.0


class SecondOpinion:
    """An independent network, in a private view.

    Args:
        network: maps pictures to class scores (n, classes).
        preprocess: from pictures in the sampler's pixel range to the network's input; None: it takes them as they are.
        input_shape: of one picture.

    Raises:
        TypeError: not a module, or not a function.
        ValueError: it cannot take such pictures, or does not return (n, classes).
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess | None, input_shape: tuple[int, ...]) -> None:
        if not isinstance(network, nn.Module):
            raise TypeError(f"judge must be a torch.nn.Module that was not sampled, or None; got {network!r:.80}")
        if preprocess is not None and not callable(preprocess):
            raise TypeError(f"judge_preprocess must be a function of a batch of pictures, or None; got {preprocess!r}")
        self._view, self._preprocess = private_view(network, None, QuietNotes()), preprocess
        first_pass(self._view, network, input_shape, preprocess, QuietNotes())
        self._modules = {name: m for name, m in self._view.named_modules() if name and not any(m.children())}
        try:
            self._alone = not self._takes_batches(input_shape)
            outputs = self._run(torch.zeros(2, *input_shape)[: 1 if self._alone else 2])
        except Exception as error:
            raise ValueError(
                f"judge cannot be run on pictures of shape {input_shape}: {error}. Give judge_preprocess= if it takes "
                "other inputs."
            ) from error
        if not isinstance(outputs, Tensor):
            raise ValueError(
                f"judge must return class scores (n, classes), one tensor; it returned {describe(outputs)}. Wrap it in "
                "a module that returns those alone"
            )
        if outputs.ndim != 2 or len(outputs) != (1 if self._alone else 2):
            pictures = "a picture" if self._alone else "two pictures"
            raise ValueError(f"judge must return class scores (n, classes); {pictures} gave {tuple(outputs.shape)}")
        self._real: dict[str, list[Tensor]] = {}

    def outputs(self, pictures: Tensor) -> Tensor:
        """Class scores (n, classes) of pictures (n, *image), on the CPU."""
        return torch.cat([self._run(part).double().cpu() for part in self._parts(pictures)])

    def look_at(self, images: Tensor) -> None:
        """Keep the units' activations on some real images, by which they are matched with neurons."""
        for name, units in self._units(images).items():
            self._real.setdefault(name, []).append(units)

    def match(self, activation: Tensor, unit: int | None, units: int) -> Match:
        """Find what corresponds to a neuron.

        Args:
            activation: of the neuron, (images,), on the images that were looked at.
            unit: the neuron's number in its layer; None: it is no single unit.
            units: size of its layer.
        """
        real = {name: torch.cat(parts) for name, parts in self._real.items()}
        outputs = real[_OUTPUT]
        same = slice(0, 0) if unit is None or outputs.shape[1] != units else slice(unit, unit + 1)
        if (_correlations(activation, outputs[:, same]) >= SAME_CLASS).any():
            return Match(f"class {unit}", _OUTPUT, same.start)
        best = Match("no unit of the judge matches this neuron: not applicable")
        most = 0.0
        for name, values in real.items():
            if len(values) != len(activation):
                continue
            found = _correlations(activation, values)
            index = int(found.abs().argmax())
            if abs(float(found[index])) > most:
                most, sign = abs(float(found[index])), 1.0 if found[index] > 0 else -1.0
                threshold = float(torch.quantile(sign * values[:, index], STRONG))
                best = Match(f"unit {index} of {name}, correlation {most:.2f}", name, index, threshold, sign)
        if most < SAME_UNIT:
            return Match(f"no unit of the judge matches this neuron (best correlation {most:.2f}): not applicable")
        return best

    def recognised(self, pictures: Tensor, match: Match) -> float | None:
        """Share of pictures (n, *image) that are recognised, 0…1; None if nothing corresponds to the neuron."""
        if not match.layer:
            return None
        if match.threshold is None:
            return float((self.outputs(pictures).argmax(1) == match.unit).double().mean())
        values = self._units(pictures)[match.layer][:, match.unit] * match.sign
        return float((values > match.threshold).double().mean())

    def _units(self, pictures: Tensor) -> dict[str, Tensor]:
        """Activation of every unit, (n, units) by module; channels of maps are averaged over positions."""
        found: dict[str, list[Tensor]] = {}

        def hear(call: Call) -> None:
            output = call.output
            if isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(part):
                units = output if output.ndim == 2 else output.flatten(2).mean(2)
                found.setdefault(str(call.address), []).append(units.double().cpu())

        for part in self._parts(pictures):
            scores = listen(self._modules, hear, functools.partial(self._run, part))
            assert scores is not None, "nothing stops the pass"
            found.setdefault(_OUTPUT, []).append(scores.double().cpu())
        return {name: torch.cat(units) for name, units in found.items()}

    def _parts(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return torch.split(pictures, 1) if self._alone else (pictures,)

    def _takes_batches(self, input_shape: tuple[int, ...]) -> bool:
        """Whether pictures in a batch have the scores that each has alone."""
        pictures = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0))
        first = [tensor for _, tensor in tensors(self._run(pictures[:1]))]
        try:
            both = [tensor for _, tensor in tensors(self._run(pictures))]
        except Exception:
            return False
        exact = dtype_of(self._view) in (torch.float32, torch.float64)
        return all(
            len(b) != 2
            or a.shape[1:] != b.shape[1:]
            or bool(torch.dist(a[0], b[0]) <= (1e-3 if exact else 5e-2) * b.norm())
            for a, b in zip(first, both, strict=True)
            if a.ndim and b.ndim and a.is_floating_point()
        )

    @torch.no_grad()
    def _run(self, pictures: Tensor) -> Any:
        with passing(self._view):
            x = pictures.to(device_of(self._view), torch.float32)
            x = x if self._preprocess is None else self._preprocess(x)
            return self._view(x.to(dtype_of(self._view)))


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's r of a (images,) with every column of b (images, units); 0 where one is constant."""
    a, b = a.double() - a.double().mean(), b - b.mean(0)
    size = a.norm() * b.norm(dim=0)
    return torch.where(size > 0, (a @ b) / size.clamp_min(1e-300), 0.0)
