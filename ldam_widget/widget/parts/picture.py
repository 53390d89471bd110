"""The picture: samples and averages of one model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from PIL import Image

from ...core.parameters import Parameter
from ...embedding.arguments import whole
from ...pictures import images
from ...sampling.comparison import Comparison
from ...sampling.standing import in_short
from .. import panes
from ..panes import Quality
from ..protocol import Message
from .display import DisplayChoice
from .part import Host, Part

_REAL_TIME = 0.05  # seconds per reading that may be spent on real images, until all have been evaluated
_MOST_SHOWN = 4  # chains, initially


class Draws(Protocol):
    """A part that draws pictures, for frames and for files."""

    def encode(self, *, with_average: bool, quality: Quality) -> Message:
        """On the loop: the current picture as a frame message."""
        ...

    def page(self, tile: int) -> Image.Image:
        """On the loop: the current picture with labels, with tiles of `tile` pixels."""
        ...


class Picture(Part):
    """One column per neuron, one row per chain, and the average.

    Args:
        host: the panel.
        display: contrast, and what is shown of the images.
    """

    def __init__(self, host: Host, display: DisplayChoice) -> None:
        super().__init__(host)
        self.display = display

    def setup(self) -> dict[str, Any]:
        return {"real_images": self.host.sampler.dataset is not None}

    def gauges(self) -> dict[str, Any]:
        """Ranks of activations among those of real images, as full sentences and abbreviated, [model][neuron];
        None without images, or until all images have been evaluated."""
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
                "chains_shown", 1, chains, shown, "Chains shown, one per row.", group="picture", integer=True
            )

    @property
    def rows(self) -> int:
        """Number of chains displayed."""
        return int(self.host.params.get("chains_shown", 1))

    def enlargement(self, neuron: Any, chain: int, model: str | None) -> dict[str, Any]:
        """The message that enlarges a tile. Raises ValueError or TypeError if there is none such."""
        runner = self.host.runner
        models = runner.names if isinstance(runner, Comparison) else ()
        if model is not None and model not in models:
            known = f"the models are {', '.join(map(repr, models))}" if models else "there is one model, without a name"
            raise ValueError(f"unknown model {model!r}; {known}")
        shown = self.host.sampler.neurons
        found = None
        if neuron is not None:  # a number may be the name of another neuron
            exact = (n for n in shown if neuron in (n.key, n.plain))
            found = next(exact, None) or next((n for n in shown if n.name and neuron == n.name), None)
        if neuron is not None and found is None:
            raise ValueError(f"{neuron!r} is not displayed; neurons are {', '.join(repr(n.plain) for n in shown)}")
        chain = whole("chain", chain, 0)
        if chain >= self.host.sampler.chains:
            raise ValueError(f"chain must be below {self.host.sampler.chains}; got {chain}")
        at = 0 if model is None else models.index(model)
        return {"kind": "enlarge", "neuron": None if found is None else found.key, "chain": chain, "model": at}

    def encode(self, *, with_average: bool, quality: Quality) -> Message:
        sampler = self.host.sampler
        picture = sampler.frame()
        content, buffers = panes.frame(
            picture, sampler.pixel_range, self.rows, self.display.now, with_average=with_average, quality=quality
        )
        return content | {"burn_in_step": sampler.burn_in_step}, buffers

    def page(self, tile: int) -> Image.Image:
        sampler = self.host.sampler
        labels = [neuron.label for neuron in sampler.neurons]
        axes = len(sampler.input_shape)
        return images.page(sampler.frame(), labels, axes, sampler.pixel_range, self.rows, tile, self.display.now)
