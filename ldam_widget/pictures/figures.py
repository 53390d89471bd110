"""Matplotlib figures for publication."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from ..core.figures import PaperFigure
from ..sampling.comparison import Comparison
from ..sampling.frame import Frame
from ..sampling.sampler import Sampler
from . import images
from .display import PLAIN, Display


def samples(
    frame: Frame,
    labels: Sequence[str],
    *,
    pixel_range: images.Range | None = None,
    title: str = "",
    chains: int | None = None,
    display: Display = PLAIN,
) -> PaperFigure:
    """Samples and averages of every neuron, with activations and all parameters in the caption.

    Args:
        frame: what to draw; N neurons.
        labels: one name per neuron, N.
        pixel_range: as for the sampler; None scales to the samples.
        title: heading.
        chains: rows of samples; None for all of them.
        display: contrast, and what is shown of the images.

    Returns:
        A matplotlib figure without a window; `figure.savefig("x.pdf")` saves it.
    """
    shown_chains = frame.images.shape[1] if chains is None else chains
    tiles = images.panes(frame, frame.images.ndim - 2, pixel_range, shown_chains, display)
    rows = np.concatenate([tiles.sample, tiles.average])
    named, average = images.row_names(frame, shown_chains, display)
    names = [*named, average]
    count, columns = rows.shape[:2]
    figure = PaperFigure(figsize=(0.9 + 0.85 * columns, 0.9 * count + 1.1), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    activation = frame.activation.mean(1).tolist()
    for column in range(columns):
        axes[0, column].set_title(f"{labels[column]}\n{activation[column]:.3g}", fontsize=8)
        for row in range(count):
            _show(axes[row, column], rows[row, column])
    for row, name in enumerate(names):
        axes[row, 0].set_ylabel(name, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    _caption(figure, caption(frame.steps, frame.params), 7)
    return figure


def comparison(comparison: Comparison, *, title: str = "", display: Display = PLAIN) -> PaperFigure:
    """Averages of every model and their signed differences, with activations, correlations and all parameters.

    Args:
        comparison: has run; M models, N neurons.
        title: heading.
        display: contrast of the averages, and what is shown of the images.

    Returns:
        M rows of averages and M − 1 rows of differences from the first model, the latter with their own colour scale.
    """
    lead = comparison.lead
    axes_of_image = len(lead.input_shape)
    averages = images.as_pictures(comparison.average_images, axes_of_image, display)
    shown = images.value_range(averages, lead.pixel_range)
    averages = images.cropped(averages, display)
    levels = images.to_levels(averages, images.own_ranges(averages, shown) if display.stretched else shown)
    differences = images.as_pictures(comparison.difference_images, axes_of_image, display)
    signed, end = images.signed_levels(images.cropped(differences, display))
    found = comparison.agreement()
    names = comparison.names
    rows = len(names) * 2 - 1
    figure = PaperFigure(figsize=(1.3 + 0.85 * len(found), 0.95 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, len(found), squeeze=False)
    drawn: Any = None
    colours = ListedColormap(images.signed_table()[1:] / 255)  # for levels 1 … 255
    for column, (neuron, row) in enumerate(zip(comparison.neurons, found, strict=True)):
        axes[0, column].set_title(neuron.label, fontsize=8)
        for k in range(len(names)):
            _show(axes[k, column], levels[k, column])
            axes[k, column].set_xlabel(f"{row.activation[k]:.3g}", fontsize=6, labelpad=1.5)
        for k in range(len(names) - 1):
            axis = axes[len(names) + k, column]
            values = (signed[k, column, ..., 0].astype(np.float32) - 128) / 127 * end
            drawn = axis.imshow(values, cmap=colours, vmin=-end, vmax=end, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        axes[-1, column].set_xlabel(_correlation(row.correlation), fontsize=6, labelpad=1.5)
    remarks = display.remarks(lead.input_shape)
    for k, name in enumerate(names):
        axes[k, 0].set_ylabel("\n".join([name, *remarks]), fontsize=8)
    for k, name in enumerate(names[1:]):
        axes[len(names) + k, 0].set_ylabel(f"{name}\nminus {names[0]}", fontsize=7)
    bar = figure.colorbar(drawn, ax=axes[len(names) :].ravel().tolist(), fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=6)
    bar.set_label("difference of averages", fontsize=6)
    if title:
        figure.suptitle(title, fontsize=10)
    _caption(figure, caption(comparison.steps, comparison.params), 7)
    return figure


def grid(
    pictures: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    captions: Sequence[Sequence[float | str]] | npt.NDArray[Any] | Tensor | None = None,
    *,
    title: str | None = None,
    pixel_range: images.Range | None = None,
    tile: float = 0.62,
) -> PaperFigure:
    """Pictures in R rows and C columns with names on the left and on top: how two settings affect a sample.

    Args:
        pictures: (R, C, channels, H, W), or any other image shape after R and C that `images.as_pictures` accepts.
        rows: one name per row, R; vertical text, a line break is "\\n".
        columns: one name per column, C.
        captions: (R, C) numbers or texts, small below each picture; numbers get three digits. None: no captions.
        title: heading.
        pixel_range: the values of black and white; None scales all pictures alike, to ± the 99.5th percentile of |x|.
        tile: width of a picture in inches; ten of 0.62 and their names fill the 7 inches of a page.

    Returns:
        A matplotlib figure without a window; `figure.savefig("x.pdf")` saves it.

    Raises:
        ValueError: no pictures, or the number of names or captions does not match the rows and columns.
    """
    if pictures.ndim < 3 or not pictures.numel():
        raise ValueError(f"pictures must be (rows, columns, *image), none of them 0, not {tuple(pictures.shape)}")
    count, across = pictures.shape[:2]
    if len(rows) != count or len(columns) != across:
        raise ValueError(f"{count} rows and {across} columns of pictures, {len(rows)} and {len(columns)} names")
    if captions is not None and (len(captions) != count or any(len(line) != across for line in captions)):
        raise ValueError(f"captions must be {count} rows of {across}")
    values = images.as_pictures(pictures, pictures.ndim - 2)
    levels = images.to_levels(values, images.value_range(values, pixel_range))
    height = tile * levels.shape[2] / levels.shape[3]
    size = (0.25 + (tile + 0.05) * across, (height + (0.05 if captions is None else 0.16)) * count)
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = PaperFigure(figsize=(size[0], size[1] + 0.2 + (0.25 if title else 0)), layout=tight)
    axes = figure.subplots(count, across, squeeze=False)
    for row in range(count):
        axes[row, 0].set_ylabel(rows[row], fontsize=8)
        for column in range(across):
            _show(axes[row, column], levels[row, column])
            if captions is not None:
                axes[row, column].set_xlabel(_short(captions[row][column]), fontsize=6, labelpad=1.5)
    for column, name in enumerate(columns):
        axes[0, column].set_title(name, fontsize=8, pad=3)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _show(axis: Any, picture: images.Levels) -> None:
    """Show one picture (H, W, 1 or 3), without ticks."""
    if picture.shape[-1] == 1:
        axis.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axis.imshow(picture, interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.3g}"


def diagnostics(sampler: Sampler, *, title: str = "") -> PaperFigure:
    """Trace, autocorrelation and ranks of the activation of every neuron, and the resulting verdicts.

    Args:
        sampler: has run; uses the pictures since burn-in, or all if it has not burned in.
        title: heading.

    Returns:
        One row per neuron: activation of every chain against steps; its autocorrelation against steps, with the time
        implied by ESS; ranks of the draws of every chain, which are level if the chains agree (Vehtari et al. 2021).
    """
    samples, found = sampler.recorded(), sampler.diagnostics()
    draws = samples.activation  # (draws, N, C)
    count, neurons, chains = draws.shape
    figure = PaperFigure(figsize=(9, 0.7 + 1.35 * neurons), layout="constrained")
    axes = figure.subplots(neurons, 3, squeeze=False, width_ratios=[2, 1, 1])
    spacing = (samples.steps[-1] - samples.steps[0]) / max(1, count - 1) if count else 1
    longest = min(count - 1, max(20, count // 5))
    colours = [f"C{i}" for i in range(10)]
    for n, neuron in enumerate(sampler.neurons):
        trace, lags, ranks = axes[n]
        values = draws[:, n].astype(np.float64)
        order = np.argsort(np.argsort(values.ravel())).reshape(values.shape)
        for c in range(chains):
            trace.plot(samples.steps, values[:, c], lw=0.5, color=colours[c % 10])
            if count > 8 and np.ptp(values[:, c]) > 0:
                lags.plot(np.arange(longest) * spacing, _autocorrelation(values[:, c])[:longest], lw=0.6,
                          color=colours[c % 10])  # fmt: skip
            if (values != values[:1]).any():  # equal values have no ranks, and those of their positions would be level
                bins = np.histogram(order[:, c], bins=20, range=(0, values.size))[0]
                ranks.step(np.linspace(0, 1, 20), bins * 20 / max(1, count), lw=0.7, color=colours[c % 10])
        lags.axhline(0, lw=0.5, color="0.5")
        ranks.axhline(1, lw=0.5, color="0.5")
        ranks.set_ylim(bottom=0)
        ratio = found["temperature"]["ratio"][n]
        trace.set_ylabel(neuron.label, fontsize=8)
        known = "T unknown" if np.isnan(ratio) else f"T {ratio:.2f} of asked"
        trace.set_title(f"{known}; {found['verdicts'][n]}", fontsize=7, loc="left")
        time = found["autocorrelation_time"][n]
        lags.set_title(f"autocorrelation time {_known(time, ' steps')}", fontsize=7, loc="left")
        r_hats = [r for r in (found["r_hat"][n], *found["projections"]["r_hat"][n]) if not np.isnan(r)]
        ranks.set_title(f"ranks; R-hat {_known(max(r_hats, default=np.nan))}", fontsize=7, loc="left")
        for axis in axes[n]:
            axis.tick_params(labelsize=6)
    for axis, name in zip(axes[-1], ("step", "lag, steps", "rank of the draw"), strict=True):
        axis.set_xlabel(name, fontsize=7)
    figure.suptitle(f"{title}{': ' if title else ''}{found['verdict']['text']}", fontsize=9)
    _caption(figure, f"{sampler.kernel.name}; {caption(sampler.steps, sampler.params)}", 6)
    return figure


def _correlation(value: float) -> str:
    return "no r: one is flat" if np.isnan(value) else f"r = {value:.2f}"


def _known(value: float, unit: str = "") -> str:
    return "unknown" if np.isnan(value) else f"{value:.3g}{unit}"


def _autocorrelation(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from arviz_stats.base import array_stats  # takes two seconds to import

    return np.asarray(array_stats.autocorr(values))


def _caption(figure: PaperFigure, text: str, size: int) -> None:
    """Below a figure, in as many lines as it takes: with few neurons it is narrow."""
    wide, high = figure.get_size_inches()
    lines = textwrap.wrap(text, max(20, int(72 * wide / (0.56 * size))))  # a letter is half as wide as high, or so
    figure.set_size_inches(wide, high + (len(lines) - 1) * 1.3 * size / 72)
    figure.supxlabel("\n".join(lines), fontsize=size)


def caption(steps: int, params: Mapping[str, float]) -> str:
    """Steps and parameters in one line, as needed to reproduce the figure."""
    return f"step {steps}; " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in params.items())
