"""Small data sets in CIFAR-10's forms, written here byte by byte or picture by picture."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
COLOURS = np.array([[200 * (n >> bit & 1) for bit in range(3)] for n in range(8)] + [[100, 100, 0], [0, 100, 100]])
TRAIN = [f"data_batch_{number}.bin" for number in (1, 2, 3, 4, 5)]


def toy_photos(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) whose colour reveals the class, on noise: learnt within a few dozen steps."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.integers(0, 50, (count, 32, 32, 3))
    return (images + COLOURS[labels][:, None, None]).astype(np.uint8), labels.astype(np.uint8)


def records(images: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch of the binary version: a label, then 1024 bytes of red, of green, of blue, for each image."""
    parts = []
    for image, label in zip(images, labels, strict=True):
        parts += [bytes([label]), *(image[:, :, colour].tobytes() for colour in range(3))]
    return b"".join(parts)


def binary_files(count: int, tested: int) -> dict[str, bytes]:
    """Five training batches of `count` images in all, and the test batch."""
    images, labels = toy_photos(count, seed=1)
    parts = np.array_split(np.arange(count), 5)
    files = {name: records(images[part], labels[part]) for name, part in zip(TRAIN, parts, strict=True)}
    return files | {"test_batch.bin": records(*toy_photos(tested, seed=2))}


def picture_files(count: int, tested: int, kind: str = "PNG") -> dict[str, bytes]:
    """train/<class>/0000.png and so on, numbered within a class."""
    files = {}
    for split, (images, labels) in {"train": toy_photos(count, seed=1), "test": toy_photos(tested, seed=2)}.items():
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            content = io.BytesIO()
            Image.fromarray(image).save(content, kind)
            files[f"{split}/{CLASSES[label]}/{index // 10:04d}.{kind.lower()}"] = content.getvalue()
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_archive(path: Path, prefix: str, files: dict[str, bytes]) -> None:
    """A tar archive, compressed as its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, f"w:{path.suffix[1:]}") as tar:  # type: ignore[call-overload]
        for name, content in reversed(files.items()):  # the order in an archive is arbitrary
            member = tarfile.TarInfo(f"{prefix}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
