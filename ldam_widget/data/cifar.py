"""CIFAR-10 in its common forms, the binary version or class folders of pictures: reading, checking, downloading.

Binary: `cifar-10-binary.tar.gz` as published, or its unpacked folder; records of a label and 3×32×32 bytes, channel by
channel. Pictures: `train/<class>/*.jpg` and `test/<class>/*.jpg` (or .png), in folders or in
`cifar10_jpeg_60k.tar.xz`. Archives are read in memory and never unpacked. The Python version is a pickle, which may run
code, so it is never read.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

# in the order of the labels
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive at URL, as published there

BINARY_ARCHIVE, BINARY_FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
PICTURE_ARCHIVE, PICTURE_FOLDER = "cifar10_jpeg_60k.tar.xz", "cifar10"
LOSSLESS_FILE = "cifar10_lossless_5k.npz"
BATCHES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
PICTURES = (".jpg", ".jpeg", ".png")
RECORD = 1 + 3 * 32 * 32  # bytes: a label, then red, green, blue row by row

_Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class Split(NamedTuple):
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,), 0…9 in the order of `CLASSES`."""

    images: Tensor
    labels: Tensor


class Cifar(NamedTuple):
    """Both splits, their source in words, and lossless test images if available."""

    train: Split
    test: Split
    source: str
    lossless: Split | None


def load_cifar(folder: str | os.PathLike[str]) -> Cifar:
    """CIFAR-10, or any data of the same form and classes, from `folder`; the binary version takes precedence.

    Pictures are ordered by class, then by name; binary records keep their order. `lossless` is the test part of
    `cifar10_lossless_5k.npz`, if the folder contains it.

    Raises FileNotFoundError if the folder or part of the data is missing, ValueError for damaged or different data.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}. {_how_to_get(folder)}")
    lossless = _read_lossless(folder / LOSSLESS_FILE)
    for place in (folder / BINARY_FOLDER, folder):
        if (place / BATCHES["test"][0]).is_file():
            files = {name: place / name for names in BATCHES.values() for name in names}
            return Cifar(*_read_binary({n: f.read_bytes() for n, f in files.items() if f.is_file()}, place),
                         "the binary version", lossless)  # fmt: skip
    if (folder / BINARY_ARCHIVE).is_file():
        wanted = {name for names in BATCHES.values() for name in names}
        batches = {path.name: content for path, content in _members(folder / BINARY_ARCHIVE) if path.name in wanted}
        return Cifar(*_read_binary(batches, folder / BINARY_ARCHIVE), "the binary version", lossless)
    for place in (folder / PICTURE_FOLDER, folder):
        if (place / "train").is_dir():
            found = ((PurePosixPath(f.relative_to(place).as_posix()), f) for f in place.glob("*/*/*"))
            content = ((path, file.read_bytes()) for path, file in found if path.suffix.lower() in PICTURES)
            return Cifar(*_read_pictures(content, place), "pictures in class folders", lossless)
    if (folder / PICTURE_ARCHIVE).is_file():
        archive = folder / PICTURE_ARCHIVE
        return Cifar(*_read_pictures(_members(archive), archive), "pictures in class folders", lossless)
    if (folder / "cifar-10-batches-py").exists() or (folder / "cifar-10-python.tar.gz").exists():
        raise FileNotFoundError(
            f"{folder} holds the version of CIFAR-10 for Python, a pickle, which could run code, so it is not read. "
            + _how_to_get(folder)
        )
    raise FileNotFoundError(f"CIFAR-10 is not in {folder}. {_how_to_get(folder)}")


def checksum(split: Split) -> str:
    """sha256 of all labels (one byte each), then all images (channel by channel), in `load_cifar`'s order."""
    digest = hashlib.sha256(split.labels.to(torch.uint8).numpy().tobytes())
    digest.update(split.images.numpy().tobytes())
    return digest.hexdigest()


def download_cifar(folder: str | os.PathLike[str], *, progress: bool = True) -> None:
    """Download the binary version into `folder` (created if needed), 170 MB; verified by the published md5.

    An existing archive is verified and kept; if the unpacked batches exist, nothing is downloaded. Needs pooch:
    `pip install "ldam-widget[train]"`.

    Raises ImportError without pooch, ValueError if a different file has the archive's name, ConnectionError if the
    download fails.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / BINARY_ARCHIVE
    if any((place / BATCHES["test"][0]).is_file() for place in (folder / BINARY_FOLDER, folder)):
        return
    if archive.exists():
        if hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest() != MD5:
            raise ValueError(
                f"{archive} is damaged or not the published archive of CIFAR-10: move it away or name another folder"
            )
        return
    try:
        import pooch
    except ImportError as error:
        raise ImportError('downloading CIFAR-10 needs pooch: pip install "ldam-widget[train]"') from error
    try:
        # pooch writes to a temporary file and moves it into place only once the checksum holds.
        pooch.retrieve(URL, f"md5:{MD5}", fname=BINARY_ARCHIVE, path=folder, progressbar=progress)
    except (OSError, ValueError) as error:  # no network, no such page (requests' errors are OSErrors); bad checksum
        raise ConnectionError(
            f"{URL} could not be downloaded; is this machine online? {error}\n"
            f"To go on without a network, put {BINARY_ARCHIVE} into {folder}."
        ) from error


def _how_to_get(folder: Path) -> str:
    return (
        f'Run `ldam train cifar --data "{folder}" --download` to fetch CIFAR-10, or put {BINARY_ARCHIVE} (from {URL}), '
        f"{PICTURE_ARCHIVE}, or picture folders train/airplane, …, test/truck there."
    )


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path and content of every regular file in a tar archive."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if member.isfile() and (file := tar.extractfile(member)) is not None:
                    yield PurePosixPath(member.name), file.read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise ValueError(f"{archive} is damaged or truncated ({error}): delete it and fetch it again") from error


# ---- binary ----------------------------------------------------------------------------------------------------------


def _read_binary(batches: dict[str, bytes], place: Path) -> tuple[Split, Split]:
    missing = [name for names in BATCHES.values() for name in names if name not in batches]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} missing in {place}: unpack {BINARY_ARCHIVE} again")
    train, test = (
        np.concatenate([_records(batches[name], place / name) for name in names]) for names in BATCHES.values()
    )
    return _split(train[:, 1:].reshape(-1, 3, 32, 32), train[:, 0]), _split(
        test[:, 1:].reshape(-1, 3, 32, 32), test[:, 0]
    )


def _records(raw: bytes, path: Path) -> _Bytes:
    if not raw or len(raw) % RECORD:
        raise ValueError(f"{path} is truncated or not a batch of CIFAR-10: {len(raw)} bytes, not records of {RECORD}")
    records: _Bytes = np.frombuffer(raw, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise ValueError(f"{path} is not a batch of CIFAR-10: it has a label {records[:, 0].max()}, the largest is 9")
    return records


def _split(images: _Bytes, labels: _Bytes) -> Split:
    return Split(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


# ---- pictures --------------------------------------------------------------------------------------------------------


def _read_pictures(files: Iterator[tuple[PurePosixPath, bytes]], place: Path) -> tuple[Split, Split]:
    """Both splits from (…/split/class/name, content), in any order; other files are ignored."""
    found: dict[str, dict[tuple[int, str], _Bytes]] = {"train": {}, "test": {}}
    for path, content in files:
        if len(path.parts) < 3 or path.parts[-3] not in found or path.suffix.lower() not in PICTURES:
            continue
        split, kind, name = path.parts[-3:]
        if kind not in CLASSES:
            raise ValueError(f"{place} has a folder {split}/{kind}; the classes are {', '.join(CLASSES)}")
        found[split][CLASSES.index(kind), name] = _decode(content, f"{place}: {split}/{kind}/{name}")
    for split, images in found.items():
        empty = [name for number, name in enumerate(CLASSES) if number not in {kind for kind, _ in images}]
        if empty:
            raise FileNotFoundError(f"{place} has no pictures in " + ", ".join(f"{split}/{name}" for name in empty))
    train, test = (
        _split(np.stack([images[key] for key in sorted(images)]), np.array([kind for kind, _ in sorted(images)]))
        for images in found.values()
    )
    return train, test


def _decode(content: bytes, where: str) -> _Bytes:
    """One picture as (3, 32, 32)."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
            if picture.size != (32, 32):
                raise ValueError(f"{where} has {picture.size[0]}×{picture.size[1]} pixels, not 32×32")
            pixels: _Bytes = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
            return pixels
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{where} is not a readable picture ({error})") from error


def _read_lossless(path: Path) -> Split | None:
    """`test_images` uint8 (N, 32, 32, 3) and `test_labels` of an npz file; None if there is no file."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["test_images"], arrays["test_labels"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or lacks test_images or test_labels ({error})") from error
    if images.dtype != np.uint8 or images.shape != (len(labels), 32, 32, 3) or labels.max(initial=0) >= len(CLASSES):
        raise ValueError(f"{path}: test_images must be bytes (N, 32, 32, 3) with N labels 0…9, not {images.shape}")
    return _split(images.transpose(0, 3, 1, 2), labels)
