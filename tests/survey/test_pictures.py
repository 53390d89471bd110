"""Pictures as users have them: every kind of file is read, or skipped with a line that says which and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from ldam_widget.core.notes import LDAMWarning, QuietNotes
from ldam_widget.data import PictureError, PictureFolder, fingerprint, images_of, read_picture

SHAPE = (3, 8, 12)


def gradient(height: int = 8, width: int = 12) -> Any:
    """Red from left to right, green from top to bottom."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 40)], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def as_tensor(picture: Any) -> Tensor:
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) / 255


def turned(path: Path) -> None:
    """A photo held upright: stored lying on its side, with a note in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it
    gradient().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def sixteen_bits(path: Path) -> None:
    grey = np.array(gradient().convert("L")).astype(np.uint16)
    Image.fromarray(grey * 257).save(path)


def clear(path: Path) -> None:
    picture = gradient().convert("RGBA")
    picture.putalpha(0)
    picture.save(path)


READ: dict[str, tuple[str, Callable[[Path], None], Callable[[], Any], float]] = {
    "plain": ("a.png", lambda path: gradient().save(path), gradient, 0),
    "turned by EXIF": ("a.png", turned, gradient, 0),
    "16-bit grey": ("a.png", sixteen_bits, lambda: gradient().convert("L"), 0),
    "CMYK": ("a.jpg", lambda path: gradient().convert("CMYK").save(path, quality=100), gradient, 0.06),
    "palette": ("a.gif", lambda path: gradient().convert("P").save(path), lambda: gradient().convert("P"), 0),
    "grey": ("a.png", lambda path: gradient().convert("L").save(path), lambda: gradient().convert("L"), 0),
    "one bit": ("a.png", lambda path: gradient().convert("1").save(path), lambda: gradient().convert("1"), 0),
    "transparent": ("a.png", clear, lambda: Image.new("RGB", (12, 8), "white"), 0),
    "numbers from 0 to 1": (
        "a.tif",
        lambda path: Image.fromarray(np.array(gradient().convert("L")).astype(np.float32) / 255).save(path),
        lambda: gradient().convert("L"),
        0,
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_kinds_of_files(kind: str, tmp_path: Path) -> None:
    name, write, expected, tolerance = READ[kind]
    write(tmp_path / name)
    found = read_picture(tmp_path / name, SHAPE)
    assert found.shape == SHAPE
    torch.testing.assert_close(found, as_tensor(expected()), atol=tolerance + 1e-6, rtol=0)
    assert torch.equal(found, read_picture((tmp_path / name).read_bytes(), SHAPE))  # as dropped into a page


def test_range_grey_crop_and_stretch(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))  # the middle third
    wide.save(path)
    assert read_picture(path, (1, 10, 10), pixel_range=(-1, 3)).unique().tolist() == [3]
    stretched = read_picture(path, (3, 10, 30), "stretch")
    assert torch.equal(stretched, as_tensor(wide))
    thirds = read_picture(path, (1, 5, 6), "stretch")[0, 2]
    assert thirds[:1].max() < 0.1
    assert thirds[2:4].min() > 0.9
    with pytest.raises(ValueError, match='fit must be "crop" or "stretch"; got \'pad\''):
        read_picture(path, SHAPE, "pad")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one or three channels, height and width"):
        PictureFolder(tmp_path, (4, 8, 8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """As found in a folder of a camera."""
    folder = tmp_path / "photos"
    for sub in ("cats", "dogs", ".thumbnails"):
        (folder / sub).mkdir(parents=True)
        gradient().save(folder / sub / "1.PNG")
    gradient(50, 80).resize((8000, 5000)).save(folder / "cats" / "40 megapixels.jpg")
    whole = (folder / "cats" / "40 megapixels.jpg").read_bytes()
    (folder / "cats" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "dogs" / "empty.png").touch()
    (folder / "dogs" / "text.png").write_text("a letter")
    (folder / "read me.txt").write_text("not a picture, and not named like one")
    gradient().save(folder / "last.bmp")
    return folder


def test_a_folder(photos: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is opened before it is taken
        images = PictureFolder(photos, SHAPE)
    names = [images.name(i) for i in range(len(images))]
    assert names == ["cats/1.PNG", "cats/40 megapixels.jpg", "cats/broken.jpg", "dogs/1.PNG", "dogs/empty.png",
                     "dogs/text.png", "last.bmp"]  # fmt: skip
    assert images.class_names == ("cats", "dogs")
    assert images.labels(range(len(images))).tolist() == [0, 0, 0, 1, 1, 1, -1]
    with pytest.warns(LDAMWarning) as told:
        pixels = images.take(range(len(images)))
    assert pixels.shape == (7, *SHAPE)
    assert pixels.isnan().flatten(1).all(1).tolist() == [False, False, True, False, True, True, False]
    assert not pixels[[0, 1, 3, 6]].isnan().any()
    torch.testing.assert_close(pixels[3], as_tensor(gradient()), atol=1e-6, rtol=0)
    assert (pixels[1] - as_tensor(gradient(50, 80).resize((12, 8)))).abs().max() < 0.06
    lines = [str(warning.message) for warning in told]
    assert len(lines) == 3
    assert lines[0].startswith("cats/broken.jpg is skipped: it cannot be decoded (")
    assert "truncated" in lines[0]
    assert lines[1:] == [
        "dogs/empty.png is skipped: it is empty",
        "dogs/text.png is skipped: not a picture that Pillow can read",
    ]
    assert sorted(images.skipped) == [2, 4, 5]


def test_pictures_beyond_pillows_limit_are_skipped(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, size in ((30_000_000, "its 40 megapixels are"), (10_000_000, "it is")):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises(PictureError, match=f"{size} more than PIL.Image.MAX_IMAGE_PIXELS allows"):
                read_picture(photos / "cats" / "40 megapixels.jpg", SHAPE)


def test_a_thousand_broken_files_do_not_flood_the_notebook(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i:02}.png").write_text("no picture")
    notes = QuietNotes()
    images = PictureFolder(tmp_path, SHAPE, notes=notes)
    images.take(range(40))
    assert len(notes) == 21
    assert notes[-1] == "more than 20 pictures are skipped; `skipped` lists them all"
    assert len(images.skipped) == 40


class Letters(Dataset[Any]):
    """Items (image, label) that tell their labels only when read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        self.read.append(i)
        return gradient(), np.int64(i % 2)


def test_labels() -> None:
    pixels = torch.rand(5, *SHAPE)
    assert images_of(pixels, None).labels(torch.arange(5)).tolist() == [-1] * 5
    named = images_of(pixels.numpy(), None, labels=["b", "a", "b", "c", "a"])
    assert named.class_names == ("a", "b", "c")
    assert named.labels(torch.tensor([3, 0])).tolist() == [2, 1]
    column = np.array(["b", "a", "b", "c", "a"], object)  # as pandas gives it
    assert images_of(pixels, None, labels=column).labels(torch.arange(5)).tolist() == [1, 0, 1, 2, 0]
    both = TensorDataset(pixels, torch.tensor([1, 0, 1, -1, 4]))
    assert images_of(both, SHAPE).labels(torch.tensor([4, 3])).tolist() == [4, -1]
    letters = Letters()
    images = images_of(letters, SHAPE)
    letters.read.clear()
    images.take(torch.tensor([1, 2]))
    assert images.labels(torch.tensor([1, 2])).tolist() == [1, 0]
    assert letters.read == [1, 2] or len(set(letters.read)) == 5  # read once by `take`, or before that by the checks
    for labels in ([1, 2], [0.5] * 5, [-2] * 5, [[1]] * 5, ["a", "b", None, "a", "b"]):
        with pytest.raises(ValueError, match="labels must be"):
            images_of(pixels, None, labels=labels)


def test_labels_of_a_dataset_that_transforms_them() -> None:
    """As torchvision's do: `targets` are those before `target_transform`."""

    class Parity(Letters):
        targets = (5, 4, 3, 2, 1)
        target_transform: Any = None

        def __getitem__(self, i: int) -> tuple[Any, Any]:
            label = self.targets[i]
            return gradient(), label if self.target_transform is None else self.target_transform(label)

    plain, transformed = Parity(), Parity()
    transformed.target_transform = lambda label: label % 2
    assert images_of(plain, SHAPE).labels(torch.arange(5)).tolist() == [5, 4, 3, 2, 1]
    assert images_of(transformed, SHAPE).labels(torch.arange(5)).tolist() == [1, 0, 1, 0, 1]


def test_fingerprints() -> None:
    pixels = torch.rand(200, *SHAPE, generator=torch.Generator().manual_seed(0))
    same, other, more = pixels.clone(), pixels.clone(), torch.cat([pixels, pixels[:1]])
    other[1, 0, 0, 0] += 0.1
    own = fingerprint(images_of(pixels, None))
    assert own.startswith("200 images, ")
    assert own == fingerprint(images_of(same, None))
    assert len({own, fingerprint(images_of(other, None)), fingerprint(images_of(more, None))}) == 3
    labels = torch.arange(200) % 7
    labelled = fingerprint(images_of(pixels, None, labels=labels))
    labels[1] = 6
    assert labelled != fingerprint(images_of(pixels, None, labels=labels))


@pytest.mark.parametrize("wrong", [(1, 0), (0, 0), (0,), 1, "ab", (0, float("nan"))])
def test_ranges_that_are_none(tmp_path: Path, wrong: Any) -> None:
    gradient().save(tmp_path / "a.png")
    for make in (
        lambda: PictureFolder(tmp_path, SHAPE, pixel_range=wrong),
        lambda: read_picture(tmp_path / "a.png", SHAPE, pixel_range=wrong),
        lambda: images_of(torch.zeros(2, *SHAPE), SHAPE, wrong),
    ):
        with pytest.raises(ValueError, match=r"pixel_range must be \(lo, hi\), numbers with lo < hi"):
            make()


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        images_of(tmp_path / "nothing", SHAPE)
    with pytest.raises(ValueError, match="no pictures in"):
        images_of(str(tmp_path), SHAPE)
    with pytest.raises(ValueError, match="input_shape is needed for a folder"):
        images_of(tmp_path, None)
