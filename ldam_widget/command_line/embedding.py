"""`ldam embed`: images from where they are, and what is written of their map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..analysis.embed import embed
from ..data import images_of
from ..data.cifar import CLASSES, load_cifar
from ..data.mnist import FILES, load_mnist
from ..embedding.embedding import Embedding

_CIFAR = ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", "cifar10_jpeg_60k.tar.xz", "cifar10")


class Labelled(NamedTuple):
    """Images, and the name of the class of each; None: unknown."""

    images: Any
    labels: npt.NDArray[Any] | None


def images_in(data: Path, split: str, input_shape: tuple[int, ...] | None) -> Labelled:
    """MNIST or CIFAR-10, known by the names of their files, or the pictures of a folder."""
    if split not in ("train", "test"):
        raise ValueError(f"--split {split}: train or test")
    if any((data / file.name).exists() for file in FILES.values()):
        images, labels = load_mnist(data, split)
        return Labelled(images, labels.numpy())
    if any((data / name).exists() for name in _CIFAR):
        chosen = getattr(load_cifar(data), split)
        return Labelled(chosen.images, np.array(CLASSES)[chosen.labels.numpy()])
    pictures = images_of(data, input_shape)
    labels = pictures.labels(torch.arange(len(pictures)))
    if not pictures.class_names or bool((labels < 0).any()):
        return Labelled(pictures, None)
    return Labelled(pictures, np.array(pictures.class_names)[labels.numpy()])


def embed_to(
    output: Path, data: Path, network: nn.Module, settings: dict[str, Any], *, split: str, **arguments: Any
) -> Embedding:
    """Write the map, and its picture beside it."""
    if output.suffix != ".safetensors":
        raise ValueError(f"-o {output}: the name must end in .safetensors; the picture gets the same name and .png")
    if not output.parent.is_dir():
        raise ValueError(f"-o {output}: there is no folder {output.parent}")
    if not data.is_dir():
        raise FileNotFoundError(f"there is no folder {data}")
    chosen = images_in(data, split, settings.get("input_shape"))
    known: dict[str, Any] = {key: settings.get(key) for key in ("layer", "input_shape", "pixel_range", "preprocess")}
    given: dict[str, Any] = {key: value for key, value in arguments.items() if value is not None}
    made = embed(chosen.images, model=network, **(known | given))
    made.save(output)
    made.figure(chosen.labels).savefig(output.with_suffix(".png"), dpi=150)
    return made
