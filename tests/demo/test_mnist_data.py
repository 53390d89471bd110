from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ldam_widget.data import mnist as mnist_data
from ldam_widget.data.mnist import checksums, load_mnist, published_checksums

from .toy_mnist import idx_images, idx_labels, toy_digits, write_split

Rewrite = Callable[[str, bytes], None]


def test_reads_what_was_written(toy_folder: Path) -> None:
    for split, count, seed in (("train", 120, 1), ("test", 50, 2)):
        images, labels = load_mnist(toy_folder, split)
        expected_images, expected_labels = toy_digits(count, seed)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert np.array_equal(images.numpy(), expected_images)
        assert np.array_equal(labels.numpy(), expected_labels)


def test_a_hand_written_file(tmp_path: Path) -> None:
    """Two images whose bytes count up, so that a swapped axis or a wrong offset shows."""
    pixels = bytes(i % 251 for i in range(2 * 28 * 28))
    header = b"\x00\x00\x08\x03" + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x1c" * 2
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels))
    labels = b"\x00\x00\x08\x01\x00\x00\x00\x02\x07\x09"
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    images, truth = load_mnist(tmp_path, "test")
    assert truth.tolist() == [7, 9]
    assert images.shape == (2, 28, 28)
    assert images[0, 0, :3].tolist() == [0, 1, 2]
    assert images[0, 1, 0] == 28
    assert images[1, 0, 0] == 784 % 251


def test_result_can_be_written_to(toy_folder: Path) -> None:
    images, _ = load_mnist(toy_folder)
    images[0] = 7
    assert images[0, 0, 0] == 7


def test_unknown_split(toy_folder: Path) -> None:
    with pytest.raises(ValueError, match='"train" or "test"'):
        load_mnist(toy_folder, "validation")


def test_missing_folder_says_how_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*--download.*t10k-labels") as caught:
        load_mnist(tmp_path / "nowhere")
    assert "train-images-idx3-ubyte.gz" in str(caught.value)


def test_missing_file_is_named(toy_folder: Path) -> None:
    (toy_folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"^train-labels-idx1-ubyte.gz is not in .*--download"):
        load_mnist(toy_folder)


def test_wrong_magic(toy_folder: Path, rewrite: Rewrite) -> None:
    rewrite("train-images-idx3-ubyte.gz", idx_labels(np.zeros(40)))
    with pytest.raises(ValueError, match=r"train-images.*magic number 2049, expected 2051"):
        load_mnist(toy_folder)


@pytest.mark.parametrize(("change", "word"), [(-1, "truncated"), (3, "too long")])
def test_wrong_length(toy_folder: Path, rewrite: Rewrite, change: int, word: str) -> None:
    raw = idx_images(toy_digits(5, 0)[0])
    rewrite("train-images-idx3-ubyte.gz", raw[:change] if change < 0 else raw + bytes(change))
    with pytest.raises(ValueError, match=rf"train-images.* is {word}: .*\(5, 28, 28\) = 3920 .* {3920 + change}"):
        load_mnist(toy_folder)


def test_shorter_than_its_header(toy_folder: Path, rewrite: Rewrite) -> None:
    rewrite("train-images-idx3-ubyte.gz", struct.pack(">2I", 2051, 5))
    with pytest.raises(ValueError, match=r"train-images.*truncated"):
        load_mnist(toy_folder)


@pytest.mark.parametrize("keep", [3, 15, 900])
def test_truncated_gzip(toy_folder: Path, keep: int) -> None:
    path = toy_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"train-images.*damaged or truncated.*fetch it again"):
        load_mnist(toy_folder)


@pytest.mark.parametrize("content", [b"", b"<html>Forbidden</html>"])
def test_not_gzip_at_all(toy_folder: Path, content: bytes) -> None:
    (toy_folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images.*truncated"):
        load_mnist(toy_folder)


def test_flipped_bit_is_noticed(toy_folder: Path) -> None:
    path = toy_folder / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged"):
        load_mnist(toy_folder)


def test_counts_differ(toy_folder: Path, rewrite: Rewrite) -> None:
    rewrite("train-labels-idx1-ubyte.gz", idx_labels(np.zeros(7)))
    with pytest.raises(ValueError, match=r"120 images but .* 7 labels"):
        load_mnist(toy_folder)


def test_other_image_size(toy_folder: Path, rewrite: Rewrite) -> None:
    rewrite("train-images-idx3-ubyte.gz", idx_images(np.zeros((120, 32, 32))))
    with pytest.raises(ValueError, match=r"\(32, 32\) pixels, not \(28, 28\)"):
        load_mnist(toy_folder)


def test_verify_refuses_other_data(toy_folder: Path) -> None:
    with pytest.raises(ValueError, match="not a file of MNIST"):
        load_mnist(toy_folder, verify=True)


def test_verify_looks_at_the_content_not_at_the_compression(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = checksums(toy_folder)
    published = {key: f._replace(raw_sha256=sums[f.name[:-3]]) for key, f in mnist_data.FILES.items()}
    monkeypatch.setattr(mnist_data, "FILES", published)
    again = tmp_path / "again"
    write_split(again, "train", *toy_digits(120, seed=1), level=1)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        assert (again / name).read_bytes() != (toy_folder / name).read_bytes()
    images, labels = load_mnist(again, verify=True)
    assert len(images) == len(labels) == 120


def test_checksums_are_of_the_decoded_content(toy_folder: Path) -> None:
    expected = hashlib.sha256(idx_labels(toy_digits(50, 2)[1])).hexdigest()
    sums = checksums(toy_folder)
    assert sums["t10k-labels-idx1-ubyte"] == expected
    assert sums.keys() == published_checksums().keys()
    assert len(sums) == 4


@pytest.mark.realdata
def test_the_real_data(real_mnist: Path) -> None:
    assert checksums(real_mnist) == published_checksums()
    images, labels = load_mnist(real_mnist, "test", verify=True)
    assert images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    images, labels = load_mnist(real_mnist, "train", verify=True)
    assert images.shape == (60_000, 28, 28)
    # The constants of `preprocess` are those of these pixels.
    pixels = images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)
