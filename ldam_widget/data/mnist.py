"""MNIST from its four idx files: reading, checking, downloading.

The format is LeCun's: a big-endian header of 32-bit words (a magic number, then one size per dimension), then bytes.
Gzip files have no canonical form, so the data is identified by the checksum of the *decoded* bytes; the checksum of
the published `.gz` is used only for downloads. Re-compressed files are accepted.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class _File(NamedTuple):
    name: str
    magic: int  # 0x08 = unsigned byte, then the number of dimensions
    gz_sha256: str  # as served by the mirrors
    raw_sha256: str  # of the decoded content


FILES = {
    ("train", "images"): _File(
        "train-images-idx3-ubyte.gz",
        0x0803,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    ("train", "labels"): _File(
        "train-labels-idx1-ubyte.gz",
        0x0801,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    ("test", "images"): _File(
        "t10k-images-idx3-ubyte.gz",
        0x0803,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    ("test", "labels"): _File(
        "t10k-labels-idx1-ubyte.gz",
        0x0801,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}

# The original site is often unreachable; these two serve the same bytes.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def load_mnist(folder: str | os.PathLike[str], split: str = "train", *, verify: bool = False) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 28, 28) and labels int64 (N,) of one split, "train" or "test".

    `verify=True` also requires the content to be the published MNIST, however it was compressed; otherwise any data
    set of the same form is read (Fashion-MNIST has the same file names).

    Raises FileNotFoundError for a missing folder or file, ValueError for an unknown split, a damaged file, unequal
    numbers of images and labels, or (with `verify`) different data.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test"; got {split!r}')
    folder = Path(folder)
    images_file, labels_file = FILES[split, "images"], FILES[split, "labels"]
    images = _read(folder, images_file, verify)
    labels = _read(folder, labels_file, verify)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{folder / images_file.name} holds images of {images.shape[1:]} pixels, not (28, 28)")
    if len(images) != len(labels):
        raise ValueError(
            f"{images_file.name} holds {len(images)} images but {labels_file.name} {len(labels)} labels in {folder}"
        )
    return torch.from_numpy(images), torch.from_numpy(labels).to(torch.int64)


def checksums(folder: str | os.PathLike[str]) -> dict[str, str]:
    """sha256 of the decoded content of the four files, by file name without `.gz`; raises like `load_mnist`."""
    folder = Path(folder)
    return {_stem(f): hashlib.sha256(_decode(folder, f)).hexdigest() for f in FILES.values()}


def published_checksums() -> dict[str, str]:
    """The result of `checksums` for the published MNIST."""
    return {_stem(f): f.raw_sha256 for f in FILES.values()}


def download_mnist(folder: str | os.PathLike[str], *, progress: bool = True) -> None:
    """Download missing files of the four into `folder` (created if needed), 11.6 MB in all; verified by sha256.

    Existing files are verified and kept, never overwritten. Needs pooch: `pip install "ldam-widget[train]"`.

    Raises ImportError without pooch, ValueError if an existing file is not MNIST, ConnectionError if the download
    fails from every mirror.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES.values():
        if (folder / file.name).exists():
            _check(folder / file.name, _decode(folder, file), file)
        else:
            _fetch(folder, file, progress)


def _fetch(folder: Path, file: _File, progress: bool) -> None:
    try:
        import pooch
    except ImportError as error:
        raise ImportError('downloading MNIST needs pooch: pip install "ldam-widget[train]"') from error

    failures = []
    for mirror in MIRRORS:
        try:
            # pooch writes to a temporary file and moves it into place only once the checksum holds.
            pooch.retrieve(
                mirror + file.name, f"sha256:{file.gz_sha256}", fname=file.name, path=folder, progressbar=progress
            )
            return
        except (OSError, ValueError) as error:  # no network, no such page (requests' errors are OSErrors); bad checksum
            failures.append(f"  {mirror}: {error}")
    raise ConnectionError(
        f"{file.name} could not be downloaded; is this machine online? Tried:\n"
        + "\n".join(failures)
        + "\n"
        + _by_hand(folder)
    )


def _by_hand(folder: Path) -> str:
    names = ", ".join(f.name for f in FILES.values())
    return f"To go on without a network, put the four files of MNIST into {folder}: {names} (from {MIRRORS[0]}…)"


def _stem(file: _File) -> str:
    return file.name.removesuffix(".gz")


def _check(path: Path, raw: bytes, file: _File) -> None:
    if hashlib.sha256(raw).hexdigest() != file.raw_sha256:
        raise ValueError(
            f"{path} is readable but not a file of MNIST (Fashion-MNIST and others have the same file names): "
            "move it away or name another folder"
        )


def _read(folder: Path, file: _File, verify: bool) -> _Bytes:
    """The array in one idx file: writable uint8, with as many dimensions as the magic number says."""
    raw = _decode(folder, file)
    path = folder / file.name
    dimensions = file.magic & 0xFF
    header = 4 * (1 + dimensions)
    if len(raw) < header:
        raise ValueError(f"{path} is truncated: {len(raw)} bytes, shorter than its header of {header}")
    magic, *shape = (int(word) for word in np.frombuffer(raw, ">u4", count=1 + dimensions))
    if magic != file.magic:
        raise ValueError(f"{path} is not the expected idx file: magic number {magic}, expected {file.magic}")
    if len(raw) - header != math.prod(shape):
        state = "truncated" if len(raw) - header < math.prod(shape) else "too long"
        raise ValueError(
            f"{path} is {state}: its header promises {tuple(shape)} = {math.prod(shape)} bytes, "
            f"there are {len(raw) - header}"
        )
    if verify:
        _check(path, raw, file)
    array: _Bytes = np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()
    return array


def _decode(folder: Path, file: _File) -> bytes:
    path = folder / file.name
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}. {_how_to_get(folder)}")
    if not path.is_file():
        raise FileNotFoundError(f"{file.name} is not in {folder}. {_how_to_get(folder)}")
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or truncated ({error}): delete it and fetch it again") from error


def _how_to_get(folder: Path) -> str:
    return f'Run `ldam train lenet5 --data "{folder}" --download` to fetch MNIST. {_by_hand(folder)}'
