"""Saving a run to a file: its last picture, an animation, or its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..sampling.sampler import Sampler
from . import images
from .display import PLAIN, Display

KINDS = (".png", ".gif", ".npz")
_FILM = 100  # maximum number of pictures in a GIF
_FILM_RATE = 12  # pictures per second


def save_run(sampler: Sampler, steps: int, path: Path, *, display: Display = PLAIN, progress: bool = False) -> None:
    """Advance the sampler and save the results.

    Args:
        sampler: advanced by `steps`.
        steps: ≥ 1.
        path: its suffix determines what is saved. .png: samples and averages at the end; .gif: at most 100 pictures of
            the run; .npz: images, averages, activations, names of the neurons, how the network was run, and parameters.
        display: contrast, and what is shown of the images, in a .png or .gif.
        progress: show a progress bar.

    Raises:
        ValueError: another suffix.
        SamplingError: as `Sampler.step`.
    """
    if path.suffix not in KINDS:
        raise ValueError(f"{path}: the name must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    film: list[Image.Image] = []
    with tqdm(total=steps, unit="step", disable=not progress) as bar:
        for frame in sampler.frames(steps):
            if path.suffix == ".gif" and frame.steps * _FILM >= steps * (len(film) + 1):
                film.append(_page(sampler, display))
            bar.update(frame.steps - bar.n)
    if path.suffix == ".gif":
        images.save_gif(film, path, _FILM_RATE)
    elif path.suffix == ".png":
        _page(sampler, display).save(path)
    else:
        np.savez(path, **_arrays(sampler))


def _page(sampler: Sampler, display: Display) -> Image.Image:
    labels = [neuron.label for neuron in sampler.neurons]
    axes = len(sampler.input_shape)
    return images.page(sampler.frame(), labels, axes, sampler.pixel_range, sampler.chains, display=display)


def _arrays(sampler: Sampler) -> dict[str, Any]:
    frame = sampler.frame()
    return {
        "images": frame.images.cpu().numpy(),
        "average_images": frame.average_images.cpu().numpy(),
        "activation": frame.activation.cpu().numpy(),
        "neurons": np.array([neuron.label for neuron in sampler.neurons]),
        "layer": np.array(sampler.layer),
        "execution": np.array(sampler.execution),
        "steps": np.array(frame.steps),
        **{f"param_{name}": np.array(value) for name, value in frame.params.items()},
    }
