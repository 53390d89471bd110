"""Figures for a paper, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import images
from .types import Frame


class PaperFigure(Figure):
    """A figure that notebooks show without pyplot, and that no window or global list holds on to."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def samples(
    frame: Frame,
    labels: Sequence[str],
    *,
    pixel_range: images.Range | None = None,
    title: str = "",
    chains: int | None = None,
) -> PaperFigure:
    """Samples and averages of every neuron, with activations and all parameters in the caption.

    Args:
        frame: what to draw; N neurons.
        labels: a name a neuron, N.
        pixel_range: as the sampler's; None scales to the samples.
        title: heading.
        chains: rows of samples; None is all of them.

    Returns:
        A matplotlib figure that belongs to no window; `figure.savefig("x.pdf")` writes it.
    """
    shown_chains = frame.images.shape[1] if chains is None else chains
    tiles = images.panes(frame, frame.images.ndim - 2, pixel_range, shown_chains)
    rows = np.concatenate([tiles.sample, tiles.average])
    names = [f"sample, chain {i + 1}" for i in range(shown_chains)] + ["average"]
    count, columns = rows.shape[:2]
    figure = PaperFigure(figsize=(0.9 + 0.85 * columns, 0.9 * count + 1.1), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    activation = frame.activation[:, :shown_chains].mean(1).tolist()
    for column in range(columns):
        axes[0, column].set_title(f"{labels[column]}\n{activation[column]:.3g}", fontsize=8)
        for row in range(count):
            axis = axes[row, column]
            picture = rows[row, column]
            if picture.shape[-1] == 1:
                axis.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            else:
                axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for row, name in enumerate(names):
        axes[row, 0].set_ylabel(name, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    figure.supxlabel(caption(frame.steps, frame.params), fontsize=7)
    return figure


def caption(steps: int, params: Mapping[str, float]) -> str:
    """What it takes to do it again: steps and parameters in one line."""
    return f"step {steps}; " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in params.items())
