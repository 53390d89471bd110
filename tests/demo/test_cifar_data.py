from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldam_widget.data import cifar as cifar_data
from ldam_widget.data.cifar import checksum, download_cifar, load_cifar

from .server import Server
from .toy_cifar import CLASSES, TRAIN, binary_files, picture_files, toy_photos, write_archive, write_files

BINARY = binary_files(60, 20)
PICTURES = picture_files(60, 20)
FORMS: dict[str, Callable[[Path], None]] = {
    "published archive": lambda folder: write_archive(
        folder / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", BINARY | {"readme.html": b"<p>"}
    ),
    "its folder": lambda folder: write_files(folder / "cifar-10-batches-bin", BINARY),
    "inside its folder": lambda folder: write_files(folder, BINARY),
    "picture archive": lambda folder: write_archive(folder / "cifar10_jpeg_60k.tar.xz", "cifar10", PICTURES),
    "picture folders": lambda folder: write_files(folder / "cifar10", PICTURES | {"labels.txt": b"airplane"}),
    "inside picture folders": lambda folder: write_files(folder, PICTURES),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_was_written(form: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path)
    cifar = load_cifar(tmp_path)
    for split, (images, labels) in ((cifar.train, toy_photos(60, 1)), (cifar.test, toy_photos(20, 2))):
        order = np.argsort(labels, kind="stable") if "picture" in form else np.arange(len(labels))
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert np.array_equal(split.images.numpy(), images[order].transpose(0, 3, 1, 2))
        assert np.array_equal(split.labels.numpy(), labels[order])
        expected = labels[order].tobytes() + np.ascontiguousarray(images[order].transpose(0, 3, 1, 2)).tobytes()
        assert checksum(split) == hashlib.sha256(expected).hexdigest()
    assert cifar.source == ("pictures in class folders" if "picture" in form else "the binary version")
    assert cifar.lossless is None


def test_exact_pixels_go_before_pictures(tmp_path: Path) -> None:
    FORMS["picture folders"](tmp_path)
    FORMS["its folder"](tmp_path)
    assert load_cifar(tmp_path).source == "the binary version"


def test_jpeg(tmp_path: Path) -> None:
    write_files(tmp_path, picture_files(10, 10, "JPEG"))
    with Image.open(tmp_path / "train" / "frog" / "0000.jpeg") as picture:
        expected = np.asarray(picture).transpose(2, 0, 1)
    assert np.array_equal(load_cifar(tmp_path).train.images[6].numpy(), expected)


def test_grey_pictures_have_three_colours(tmp_path: Path) -> None:
    write_files(tmp_path, PICTURES)
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / "test" / "cat" / "0000.png")
    image = load_cifar(tmp_path).test.images[6]
    assert (image == image[0]).all()


def test_lossless_test_images(tmp_path: Path) -> None:
    FORMS["picture folders"](tmp_path)
    images, labels = toy_photos(7, 3)
    np.savez(tmp_path / "cifar10_lossless_5k.npz", test_images=images, test_labels=labels)
    lossless = load_cifar(tmp_path).lossless
    assert lossless is not None
    assert np.array_equal(lossless.images.numpy(), images.transpose(0, 3, 1, 2))
    assert lossless.labels.tolist() == labels.tolist()


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


@pytest.mark.parametrize("what", ["pickled", "shape", "missing", "torn", "label"])
def test_bad_lossless_file(tmp_path: Path, what: str) -> None:
    FORMS["picture folders"](tmp_path)
    path = tmp_path / "cifar10_lossless_5k.npz"
    images, labels = toy_photos(7, 3)
    if what == "pickled":
        np.savez(path, test_images=np.array([Bomb()], dtype=object), test_labels=labels)
    elif what == "shape":
        np.savez(path, test_images=images[:3], test_labels=labels)
    elif what == "missing":
        np.savez(path, test_images=images)
    elif what == "label":
        np.savez(path, test_images=images, test_labels=labels + 9)
    else:
        path.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match=r"cifar10_lossless_5k\.npz"):
        load_cifar(tmp_path)


def test_the_pickled_version_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "cifar-10-batches-py", {name[:-4]: pickle.dumps(Bomb()) for name in BINARY})
    with pytest.raises(FileNotFoundError, match=r"for Python, a pickle, .* not read\. .*--download"):
        load_cifar(tmp_path)


def test_missing_data_says_how_to_get_it(tmp_path: Path) -> None:
    for folder, start in ((tmp_path / "nowhere", "there is no folder"), (tmp_path, "CIFAR-10 is not in")):
        with pytest.raises(FileNotFoundError, match=rf"{start} .*--download.*cifar-10-binary\.tar\.gz.*test/truck"):
            load_cifar(folder)


@pytest.mark.parametrize("form", ["published archive", "its folder"])
def test_missing_batches_are_named(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TRAIN[1:3]:
        monkeypatch.delitem(BINARY, name)
    FORMS[form](tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data_batch_2\.bin, data_batch_3\.bin missing in"):
        load_cifar(tmp_path)


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3074)])
def test_torn_batch(content: bytes, tmp_path: Path) -> None:
    FORMS["its folder"](tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_batch_4\.bin is truncated.*{len(content)} bytes.*3073"):
        load_cifar(tmp_path)


def test_label_out_of_range(tmp_path: Path) -> None:
    """A batch of CIFAR-100 has records of 3074 bytes; 3073 of them look like 3074 of CIFAR-10."""
    FORMS["its folder"](tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(ValueError, match=r"test_batch\.bin is not a batch of CIFAR-10: it has a label 10"):
        load_cifar(tmp_path)


@pytest.mark.parametrize("form", ["published archive", "picture archive"])
@pytest.mark.parametrize("damage", ["cut", "no archive"])
def test_damaged_archive(form: str, damage: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path)
    (archive,) = tmp_path.iterdir()
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2] if damage == "cut" else b"a login page")
    with pytest.raises(ValueError, match=rf"{archive.name} is damaged or truncated"):
        load_cifar(tmp_path)


def test_unknown_class(tmp_path: Path) -> None:
    write_files(tmp_path, PICTURES | {"train/unicorn/0000.png": PICTURES["train/horse/0000.png"]})
    with pytest.raises(ValueError, match="a folder train/unicorn; the classes are airplane, automobile"):
        load_cifar(tmp_path)


def test_empty_classes_are_named(tmp_path: Path) -> None:
    write_files(tmp_path, {name: c for name, c in PICTURES.items() if not name.startswith(("test/dog", "test/ship"))})
    with pytest.raises(FileNotFoundError, match=r"no pictures in test/dog, test/ship$"):
        load_cifar(tmp_path)


@pytest.mark.parametrize(("damage", "message"), [
    ("size", r"train/deer/0001\.png has 33×32 pixels, not 32×32"),
    ("cut", r"train/deer/0001\.png is not a readable picture"),
    ("text", r"train/deer/0001\.png is not a readable picture"),
    ("gif", r"train/deer/0001\.png is not a readable picture"),
])  # fmt: skip
def test_bad_picture_is_named(damage: str, message: str, tmp_path: Path) -> None:
    write_files(tmp_path, PICTURES)
    path = tmp_path / "train" / "deer" / "0001.png"
    content = io.BytesIO()
    if damage == "size":
        Image.new("RGB", (33, 32)).save(content, "PNG")
    elif damage == "gif":
        Image.new("RGB", (32, 32)).save(content, "GIF")
    elif damage == "cut":
        content.write(path.read_bytes()[:-1000])
    path.write_bytes(content.getvalue() or b"a login page")
    with pytest.raises(ValueError, match=message):
        load_cifar(tmp_path)


# ---- downloads, against a server on this machine ---------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A site with the toy archive, which passes for the published one."""
    pytest.importorskip("pooch", reason="downloads need the extra [train]")
    FORMS["published archive"](tmp_path / "site")
    content = (tmp_path / "site" / "cifar-10-binary.tar.gz").read_bytes()
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = Server(tmp_path / "site")
    monkeypatch.setattr(cifar_data, "MD5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cifar_data, "URL", server.url + "cifar-10-binary.tar.gz")
    yield server
    server.close()


def test_download_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cifar"
    for _ in range(2):
        download_cifar(folder, progress=False)
    assert len(server.asked) == 1
    assert [file.name for file in folder.iterdir()] == ["cifar-10-binary.tar.gz"]
    assert len(load_cifar(folder).train.labels) == 60


def test_the_unpacked_batches_need_no_download(server: Server, tmp_path: Path) -> None:
    FORMS["its folder"](tmp_path)
    FORMS["inside its folder"](tmp_path / "b")
    download_cifar(tmp_path, progress=False)
    download_cifar(tmp_path / "b", progress=False)
    assert server.asked == []


def test_other_content_is_not_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "site" / "cifar-10-binary.tar.gz").write_bytes(b"a login page")
    with pytest.raises(ConnectionError, match=r"hash(.|\n)*put cifar-10-binary\.tar\.gz into"):
        download_cifar(tmp_path / "x", progress=False)
    assert list((tmp_path / "x").iterdir()) == []


def test_other_files_are_never_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"not the published archive of CIFAR-10.*move it away"):
        download_cifar(tmp_path, progress=False)
    assert (tmp_path / "cifar-10-binary.tar.gz").read_bytes() == b"mine"
    assert server.asked == []


def test_offline_says_what_to_do(server: Server, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(ConnectionError, match=r"online\?(.|\n)*put cifar-10-binary\.tar\.gz into"):
        download_cifar(tmp_path / "x", progress=False)


def test_without_pooch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "ldam-widget\[train\]"'):
        download_cifar(tmp_path)


def test_classes() -> None:
    assert list(cifar_data.CLASSES) == CLASSES


@pytest.mark.realdata
def test_real_archive(real_cifar: Path) -> None:
    """Five of each class against the exact pixels: JPEG errs by a few levels, another picture by dozens."""
    cifar = load_cifar(real_cifar)
    assert (len(cifar.train.labels), len(cifar.test.labels)) == (50_000, 10_000)
    assert cifar.train.labels.bincount().tolist() == [5000] * 10
    assert cifar.test.labels.bincount().tolist() == [1000] * 10
    assert cifar.lossless is not None
    assert len(cifar.lossless.labels) == 1000
    for number in range(10):
        exact = cifar.lossless.images[cifar.lossless.labels == number][:5].float()
        lossy = cifar.test.images[cifar.test.labels == number][:5].float()
        assert (exact - lossy).abs().mean((1, 2, 3)).max() < 15
        assert (exact - lossy.roll(1, 0)).abs().mean() > 30
