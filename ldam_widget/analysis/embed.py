"""`ldam.embed`: a map of images by what a layer makes of them, of any features, or of positions made elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from ..core.notes import Notes
from ..data import images_of
from ..embedding.arguments import array, chosen_device, whole
from ..embedding.embedding import Embedding
from ..embedding.neighbours import Method
from ..embedding.space import Space
from ..embedding.tsne import TSNE
from ..network.inputs import Inputs
from ..network.trace import Preprocess
from .features import At, InBatches, LayerFeatures, PixelFeatures, range_of, space_of


@torch.inference_mode(False)
def embed(
    images: Any = None,
    *,
    model: nn.Module | None = None,
    layer: str | None = None,
    features: Any = None,
    points: Any = None,
    perplexity: float = 30.0,
    exaggeration: float = 1.0,
    steps: int = 750,
    seed: int = 0,
    start: Any = None,
    method: Method = "auto",
    at: At = "all",
    input_shape: Sequence[int] | None = None,
    pixel_range: tuple[float, float] | None = None,
    preprocess: Preprocess | None = None,
    inputs: Inputs | None = None,
    batch: int = 256,
    cache: str | os.PathLike[str] | bool = True,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Embedding:
    """A map of many images in two dimensions, on which those that are alike for a model lie together (t-SNE).

        e = ldam.embed(images, model=model, layer="fc2")
        e = ldam.embed(features=array)
        e = ldam.embed(points=umap_positions, features=array)  # any other layout, with features to place new points

    An interrupt (Ctrl-C) while points move returns the map as it stands, with a warning; before that it is raised.
    `ldam.TSNE` gives the positions of every step.

    Args:
        images: a folder, array, tensor or Dataset, as for `Sampler`'s `dataset`.
        model, layer: whose outputs are the features; without a model the pixels are. layer=None: what the model
            returns, before a softmax.
        features: (n, d) numbers to map instead of images.
        points: (n, 2) positions that are already known; nothing is moved.
        perplexity, exaggeration, steps, seed, start, method: see `ldam.TSNE`.
        at: of feature maps: "all" their values, or their "mean" over positions.
        input_shape, pixel_range, preprocess, inputs: of the images, as for `Sampler`; the shape defaults to the data's.
        batch: images in a forward pass, ≥ 1.
        cache: a folder in which the images' features, reduced to 50 dimensions, are kept for further maps; True: in
            memory, the last four; False: nowhere. They are found by the model's weights, the layer and the
            images (64 of them, for a folder or a Dataset), and checked by computing 32 of them again.
        device: None: CUDA if available, else the CPU.
        progress: show bars.

    Raises:
        TypeError, ValueError: see `ldam.TSNE`, `ldam.activations` and `ldam.Embedding`; neither images nor features nor
            points, or both images and features.
    """
    on = chosen_device(device)
    known: tuple[InBatches, tuple[float, float] | None] | None = None
    if images is not None and features is not None:
        raise ValueError("give images or features, not both")
    if images is None and (model is not None or layer is not None):
        raise ValueError("model and layer need images; give images= their data, or features= alone")
    if images is not None:
        if model is None and layer is not None:
            raise ValueError(f"layer={layer!r} needs a model; without one the features are the pixels")
        source = images_of(images, None if input_shape is None else tuple(input_shape), pixel_range)
        made = (
            PixelFeatures()
            if model is None
            else LayerFeatures(model, layer, tuple(source.input_shape), at, preprocess, inputs, device)
        )
        batch = whole("batch", batch, 1)
        space = space_of(made, source, batch=batch, device=on, cache=cache, progress=progress)
        known = InBatches(made, tuple(source.input_shape), batch), range_of(source, pixel_range)
    elif features is not None:
        space = Space.of(array("features", features, on))
    elif points is not None:
        return Embedding(points, device=on)
    else:
        raise ValueError("nothing to map: give images (with a model and a layer), or features=, or points=")
    if points is not None:
        return _knowing(Embedding(points, space, device=on), known)
    run = TSNE(
        space, perplexity=perplexity, exaggeration=exaggeration, steps=steps, seed=seed, start=start, method=method,
        device=on, progress=progress,
    )  # fmt: skip
    return _knowing(_run(run, progress), known)


def _knowing(e: Embedding, known: tuple[InBatches, tuple[float, float] | None] | None) -> Embedding:
    """A map that can place further images, if it was made of images."""
    if known is not None:
        e.features_of, e.pixel_range = known
    return e


def _run(run: TSNE, progress: bool) -> Embedding:
    """All steps, or those until an interrupt."""
    try:
        for _ in tqdm(run, "t-SNE", unit="step", disable=not progress):
            pass
    except KeyboardInterrupt:
        Notes().tell(f"interrupted: the map is as it was after {run.done} of {run.steps} steps")
    return Embedding.of(run)
