"""Does another network, which had no part in the sampling, recognise the pictures?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...core.notes import QuietNotes
from ...network.capture import Call, listen
from ...network.first_pass import first_pass
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
            outputs = self.outputs(torch.zeros(2, *input_shape))
        except Exception as error:
            raise ValueError(
                f"judge cannot be run on pictures of shape {input_shape}: {error}. Give judge_preprocess= if it takes "
                "other inputs."
            ) from error
        if outputs.ndim != 2 or len(outputs) != 2:
            raise ValueError(f"judge must return class scores (n, classes); two pictures gave {tuple(outputs.shape)}")
        self._real: dict[str, list[Tensor]] = {}

    def outputs(self, pictures: Tensor) -> Tensor:
        """Class scores (n, classes) of pictures (n, *image), on the CPU."""
        found: Tensor = self._run(pictures)
        return found.double().cpu()

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
        found: dict[str, Tensor] = {}

        def hear(call: Call) -> None:
            output = call.output
            if isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(pictures):
                units = output if output.ndim == 2 else output.flatten(2).mean(2)
                found[str(call.address)] = units.double().cpu()

        kept: list[Tensor] = []
        listen(self._modules, hear, lambda: kept.append(self.outputs(pictures)))
        return found | {_OUTPUT: kept[0]}

    @torch.no_grad()
    def _run(self, pictures: Tensor) -> Tensor:
        x = pictures.to(device_of(self._view), torch.float32)
        x = x if self._preprocess is None else self._preprocess(x)
        output: Tensor = self._view(x.to(dtype_of(self._view)))
        return output


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's r of a (images,) with every column of b (images, units); 0 where one is constant."""
    a, b = a.double() - a.double().mean(), b - b.mean(0)
    size = a.norm() * b.norm(dim=0)
    return torch.where(size > 0, (a @ b) / size.clamp_min(1e-300), 0.0)
