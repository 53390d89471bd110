"""The picture: samples and averages of one model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from PIL import Image

from ...core.parameters import Parameter
from ...pictures import images
from ...sampling.standing import in_short
from .. import panes
from ..panes import Quality
from ..protocol import Message
from .part import Part

_REAL_TIME = 0.05  # seconds of every reading that may go to real images, until all have been looked at
_MOST_SHOWN = 4  # chains, at first


class Draws(Protocol):
    """A part that makes pictures: for frames, and for files."""

    def encode(self, *, with_average: bool, quality: Quality) -> Message:
        """On the loop: the present picture as a frame message."""
        ...

    def page(self, tile: int) -> Image.Image:
        """On the loop: the present picture with labels; `tile` pixels a tile."""
        ...


class Picture(Part):
    """A column a neuron, a row a chain, and the average."""

    def setup(self) -> dict[str, Any]:
        return {"real_images": self.host.sampler.dataset is not None}

    def gauges(self) -> dict[str, Any]:
        """How strong activations are among those of real images, in whole sentences and in short, [model][neuron];
        None without images, or while they are being looked at."""
        runner = self.host.runner
        samplers = getattr(runner, "samplers", [runner])
        said = [sampler.standing(_REAL_TIME) for sampler in samplers]
        if any(words is None for words in said):
            return {"standing": None}
        return {"standing": [[{"text": text, "short": in_short(text)} for text in words] for words in said]}

    def parameters(self) -> Iterable[Parameter]:
        chains = self.host.sampler.chains
        if chains > 1:
            shown = min(chains, _MOST_SHOWN)
            yield Parameter(
                "chains_shown", 1, chains, shown, "Chains on show, one a row.", group="picture", integer=True
            )

    @property
    def rows(self) -> int:
        """Chains on show."""
        return int(self.host.params.get("chains_shown", 1))

    def encode(self, *, with_average: bool, quality: Quality) -> Message:
        sampler = self.host.sampler
        picture = sampler.frame()
        content, buffers = panes.frame(
            picture, sampler.pixel_range, self.rows, with_average=with_average, quality=quality
        )
        return content | {"burn_in_step": sampler.burn_in_step}, buffers

    def page(self, tile: int) -> Image.Image:
        sampler = self.host.sampler
        labels = [neuron.label for neuron in sampler.neurons]
        axes = len(sampler.input_shape)
        return images.page(sampler.frame(), labels, axes, sampler.pixel_range, self.rows, tile)
