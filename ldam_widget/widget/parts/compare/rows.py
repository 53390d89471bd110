"""The picture of several models: one row per model, and differences of their averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from ....pictures import images
from ....sampling.comparison import Comparison
from ... import panes, protocol
from ...panes import Quality
from ...protocol import Content, Message
from ..display import DisplayChoice
from ..part import Command, Host
from ..picture import Picture

ROWS = ("samples", "averages", "both")


def checked_rows(rows: Any) -> str:
    """Raises ValueError unless it is one of `ROWS`."""
    if rows not in ROWS:
        raise ValueError(f"show must be one of {', '.join(map(repr, ROWS))}; got {rows!r}")
    return str(rows)


class ComparedPicture(Picture):
    """Samples, averages or both of every model, and the signed differences from the first.

    Args:
        host: the panel.
        comparison: the models, in step.
        show: the rows to show.
        display: as for `Picture`.
    """

    def __init__(self, host: Host, comparison: Comparison, show: str, display: DisplayChoice) -> None:
        super().__init__(host, display)
        self._names = comparison.names
        self.show = show

    @property
    def _comparison(self) -> Comparison:
        runner = self.host.runner
        assert isinstance(runner, Comparison)
        return runner

    def show_rows(self, rows: str) -> None:
        """On the loop: show other rows."""
        self.show = checked_rows(rows)
        self.host.begin_anew()  # the page discards its old panes

    def setup(self) -> dict[str, Any]:
        layers = self._comparison.layers
        differ = len(set(layers.values())) > 1
        models = [{"name": name, "note": layers[name] if differ else ""} for name in self._names]
        return super().setup() | {"models": models}

    def state(self) -> dict[str, Any]:
        return {"show": self.show}

    def gauges(self) -> dict[str, Any]:
        return super().gauges() | {"agreement": protocol.agreement(self._comparison.agreement())}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"show": self._read_rows}

    def _read_rows(self, content: Content) -> Command | None:
        rows = protocol.text(content, "what")
        return None if rows is None else Command(lambda: self.show_rows(rows))

    def parameters(self) -> tuple[()]:
        return ()

    def encode(self, *, with_average: bool, quality: Quality) -> Message:
        comparison = self._comparison
        pictures = [sampler.frame() for sampler in comparison.samplers]
        content, buffers = panes.comparison_frame(
            self._names,
            pictures,
            comparison.difference_images,
            comparison.lead.pixel_range,
            self.display.now,
            show=self.show,
            with_average=with_average or self.show == "averages",
            quality=quality,
        )
        return content | {"burn_in_step": comparison.lead.burn_in_step}, buffers

    def page(self, tile: int) -> Image.Image:
        comparison = self._comparison
        sampler = comparison.lead
        axes = len(sampler.input_shape)
        display = self.display.now
        tiles = images.panes_alike([s.frame() for s in comparison.samplers], axes, sampler.pixel_range, display)
        differences = images.as_pictures(comparison.difference_images, axes, display)
        levels, end = images.signed_levels(images.cropped(differences, display))
        more = "".join(f"\n{remark}" for remark in display.remarks(sampler.input_shape))
        colour = tiles[0].sample.shape[-1] == 3
        rows, names = [], []
        for name, tile_of in zip(self._names, tiles, strict=True):
            if self.show != "averages":
                rows.append(tile_of.sample)
                names.append(f"{name}\nnow{more}")
        for name, tile_of in zip(self._names, tiles, strict=True):
            if self.show != "samples":
                rows.append(tile_of.average)
                names.append(f"{name}\naverage{more}")
        everything = np.concatenate(rows)
        everything = np.concatenate([
            everything if colour else everything.repeat(3, -1), images.signed_colours(levels)
        ])  # fmt: skip
        names += [f"{name}\nminus {self._names[0]}\n(±{end:g})" for name in self._names[1:]]
        activations = comparison.activation.mean(2)
        heads = [
            f"{neuron.label}\n" + "\n".join(f"{value:.4g}" for value in activations[:, n].tolist())
            for n, neuron in enumerate(comparison.neurons)
        ]
        return images.grid(everything, heads, names, tile)
