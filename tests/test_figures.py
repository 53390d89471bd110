"""Figures for a paper: everything that was on show, with what it takes to do it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5), (16,)], ids=str)
def test_figure_shows_samples_averages_labels_and_parameters(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    model(torch.zeros(1, *shape))
    kernel = ldam.kernels.Algorithm1()
    s = ldam.Sampler(model, input_shape=shape, kernel=kernel, chains=2, class_names=["a", "b", "c", "d"])
    frame = s.step(4)
    figure = ldam.figures.samples(frame, [n.label for n in s.neurons], title="a title", chains=2)
    assert len(figure.axes) == 3 * 4  # two chains and the average, four neurons
    assert [axis.get_title().split("\n")[0] for axis in figure.axes[:4]] == ["0 a", "1 b", "2 c", "3 d"]
    assert [figure.axes[i].get_ylabel() for i in (0, 4, 8)] == [
        "sample\nchain 1 of 2",
        "sample\nchain 2 of 2",
        "average\n100 frames × 2",
    ]
    text = figure.get_supxlabel()
    assert text.startswith("step 4; ")
    for name, value in s.params.items():
        assert f"{name.replace('_', ' ')} {value:.4g}" in text
    figure.savefig(tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


def pictures(rows: int = 2, columns: int = 3, shape: tuple[int, ...] = (1, 6, 5)) -> torch.Tensor:
    return torch.rand(rows, columns, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5), (6, 5), (16,)], ids=str)
def test_grid_has_a_picture_a_row_and_column_with_their_names(shape: tuple[int, ...], tmp_path: Path) -> None:
    numbers = torch.tensor([[1.23456, -2.0, 0.0], [1234.5, 1e-7, 3.0]])
    figure = ldam.figures.grid(pictures(shape=shape), ["λ = 0", "λ = 1"], ["a", "b", "c"], numbers, title="a title")
    assert len(figure.axes) == 6
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", "", "", ""]
    assert [axis.get_ylabel() for axis in figure.axes] == ["λ = 0", "", "", "λ = 1", "", ""]
    assert [axis.get_xlabel() for axis in figure.axes] == ["1.23", "-2", "0", "1.23e+03", "1e-07", "3"]
    assert figure.get_suptitle() == "a title"
    figure.savefig(tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_grid_shows_the_pixels_in_their_range() -> None:
    """Black and white are the ends of the range; every picture is where its row and column say."""
    levels = torch.tensor([[-1.0, 0.0], [1.0, 3.0]])
    images = levels.view(2, 2, 1, 1, 1).expand(2, 2, 1, 4, 4)
    figure = ldam.figures.grid(images, ["r", "s"], ["c", "d"], pixel_range=(-1, 1))
    shown = [np.unique(axis.images[0].get_array()).tolist() for axis in figure.axes]
    assert shown == [[0], [128], [255], [255]]
    assert {axis.images[0].get_clim() for axis in figure.axes} == {(0, 255)}
    assert figure.get_suptitle() == ""
    alike = ldam.figures.grid(images / 3, ["r", "s"], ["c", "d"])  # one range for all, ± the largest
    assert [int(axis.images[0].get_array()[0, 0]) for axis in alike.axes] == [85, 128, 170, 255]


def test_grid_takes_texts_and_arrays_as_captions() -> None:
    texts = ldam.figures.grid(pictures(1, 2), ["r"], ["c", "d"], [["real", 0.5]])
    assert [axis.get_xlabel() for axis in texts.axes] == ["real", "0.5"]
    arrays = ldam.figures.grid(pictures(1, 2), ["r"], ["c", "d"], np.array([[12345, 2]]))
    assert [axis.get_xlabel() for axis in arrays.axes] == ["1.23e+04", "2"]


@pytest.mark.parametrize(("rows", "columns", "shape"), [(4, 10, (1, 28, 28)), (1, 2, (3, 9, 18)), (6, 1, (1, 20, 10))])
@pytest.mark.parametrize("captions", [True, False])
def test_grid_is_tight_and_nothing_overlaps(rows: int, columns: int, shape: tuple[int, ...], captions: bool) -> None:
    figure = ldam.figures.grid(
        pictures(rows, columns, shape), [f"r{i}" for i in range(rows)], [f"c{i}" for i in range(columns)],
        torch.zeros(rows, columns) if captions else None, title="a title", tile=0.6,
    )  # fmt: skip
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= 7
    tiles = np.array([axis.get_window_extent().extents for axis in figure.axes]).reshape(rows, columns, 4) / figure.dpi
    widths, heights = tiles[..., 2] - tiles[..., 0], tiles[..., 3] - tiles[..., 1]
    np.testing.assert_allclose(heights / widths, shape[1] / shape[2], rtol=0.02)
    np.testing.assert_allclose(widths, 0.6, rtol=0.12)  # near the asked size: neither room lost nor pictures shrunk
    assert (tiles[:, 1:, 0] - tiles[:, :-1, 2] < 0.15).all()
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    for i, one in enumerate(boxes):
        assert figure.bbox.x0 <= one.x0 + 1
        assert one.x1 <= figure.bbox.x1 + 1
        for other in boxes[:i]:
            overlap = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(overlap) < 1  # pixel


@pytest.mark.parametrize(
    ("images", "names", "captions", "says"),
    [
        (pictures(), (["r"], ["a", "b", "c"]), None, "2 rows and 3 columns of pictures, 1 and 3 names"),
        (pictures(), (["r", "s"], ["a"]), None, "2 and 1 names"),
        (pictures(), (["r", "s"], ["a", "b", "c"]), [[1, 2, 3]], "captions must be 2 rows of 3"),
        (pictures(), (["r", "s"], ["a", "b", "c"]), [[1, 2, 3], [1]], "captions must be 2 rows of 3"),
        (torch.zeros(0, 3, 1, 4, 4), ([], ["a", "b", "c"]), None, r"none of them 0, not \(0, 3, 1, 4, 4\)"),
        (torch.zeros(2, 3), (["r", "s"], ["a", "b", "c"]), None, r"\(rows, columns, \*image\)"),
    ],
)
def test_grid_of_what_does_not_fit(
    images: torch.Tensor, names: tuple[list[str], list[str]], captions: list[list[float]] | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ldam.figures.grid(images, *names, captions)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_the_caption_fits_a_narrow_figure(columns: int) -> None:
    s = ldam.Sampler(nn.Linear(6, 4), input_shape=(6,), neurons=range(columns), device="cpu", warm_up=2)
    figure = ldam.figures.samples(s.step(2), [str(n) for n in range(columns)])
    figure.canvas.draw()
    box, whole = figure._supxlabel.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    lowest = min(axes.get_window_extent().y0 for axes in figure.axes)
    assert whole.y0 <= box.y0 < box.y1 <= lowest
