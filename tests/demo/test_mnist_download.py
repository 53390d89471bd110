"""Downloads, against a server on this machine; nothing here needs the network."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldam_widget.data import mnist as mnist_data
from ldam_widget.data.mnist import checksums, download_mnist, load_mnist

from .server import Server
from .toy_mnist import toy_digits, write_split

pytest.importorskip("pooch", reason="downloads need the extra [train]")


@pytest.fixture
def server(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A mirror with the toy set, which passes for the published one."""
    sums = checksums(toy_folder)
    published = {
        key: f._replace(
            gz_sha256=hashlib.sha256((toy_folder / f.name).read_bytes()).hexdigest(), raw_sha256=sums[f.name[:-3]]
        )
        for key, f in mnist_data.FILES.items()
    }
    monkeypatch.setattr(mnist_data, "FILES", published)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = Server(toy_folder)
    monkeypatch.setattr(mnist_data, "MIRRORS", (server.url,))
    yield server
    server.close()


def test_fetches_four_files(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "mnist"
    download_mnist(folder, progress=True)
    assert len(server.asked) == 4
    assert len(list(folder.iterdir())) == 4
    assert len(load_mnist(folder, verify=True)[0]) == 120


def test_fetches_only_what_is_missing(server: Server, toy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for file in list(toy_folder.iterdir())[:3]:
        (folder / file.name).write_bytes(file.read_bytes())
    download_mnist(folder, progress=False)
    assert len(server.asked) == 1
    download_mnist(folder, progress=False)
    assert len(server.asked) == 1


def test_next_mirror_after_a_missing_page(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_data, "MIRRORS", (server.url + "gone/", server.url))
    download_mnist(tmp_path / "x", progress=False)
    assert len(server.asked) == 4 + 4 + 4  # the handler notes an error twice: its code and the request
    load_mnist(tmp_path / "x", "test", verify=True)


def test_next_mirror_after_a_wrong_checksum(
    server: Server, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = toy_folder / "bad"
    bad.mkdir()
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (bad / name).write_bytes(b"a login page")
    monkeypatch.setattr(mnist_data, "MIRRORS", (server.url + "bad/", server.url))
    download_mnist(tmp_path / "x", progress=False)
    load_mnist(tmp_path / "x", "train", verify=True)


def test_only_wrong_checksums_leave_nothing_behind(server: Server, toy_folder: Path, tmp_path: Path) -> None:
    (toy_folder / "train-images-idx3-ubyte.gz").write_bytes(b"a login page")
    with pytest.raises(ConnectionError, match=r"train-images(.|\n)*hash"):
        download_mnist(tmp_path / "x", progress=False)
    assert list((tmp_path / "x").iterdir()) == []


def test_offline_says_what_to_do(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.close()
    monkeypatch.setattr(mnist_data, "MIRRORS", (server.url, server.url + "second/"))
    with pytest.raises(ConnectionError) as caught:
        download_mnist(tmp_path / "x", progress=False)
    message = str(caught.value)
    for part in (
        "online?",
        server.url + "second/",
        "put the four files",
        str(tmp_path / "x"),
        *mnist_data.FILES.values(),
    ):
        assert (part if isinstance(part, str) else part.name) in message


def test_other_data_is_never_overwritten(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "fashion"
    write_split(folder, "train", *toy_digits(30, seed=9))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ValueError, match=r"Fashion-MNIST.*move it away"):
        download_mnist(folder, progress=False)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert server.asked == []


def test_without_pooch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "ldam-widget\[train\]"'):
        download_mnist(tmp_path)
