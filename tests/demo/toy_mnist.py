"""Small data sets in MNIST's file format, written here byte by byte with `struct`."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

NAMES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def idx_images(images: np.ndarray) -> bytes:
    return struct.pack(">4I", 2051, *images.shape) + images.astype(np.uint8).tobytes()


def idx_labels(labels: np.ndarray) -> bytes:
    return struct.pack(">2I", 2049, len(labels)) + labels.astype(np.uint8).tobytes()


def write_split(folder: Path, split: str, images: np.ndarray, labels: np.ndarray, level: int = 9) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in zip(NAMES[split], (idx_images(images), idx_labels(labels)), strict=True):
        (folder / name).write_bytes(gzip.compress(content, level))


def toy_digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright bar in one of ten places, on noise: learnt within a few dozen steps."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.integers(0, 60, (count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 6 + 2 * label, 6:22] = 250
    return images.astype(np.uint8), labels.astype(np.uint8)
