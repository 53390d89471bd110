"""Tables of a layer's units: search, change in another checkpoint, distributions, sheets of top images."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.network.own_weights import own_weights

from .networks import by_hand, coarse_images, functional

IMAGES, BATCH = 1200, 128


@pytest.fixture(scope="module")
def images() -> Tensor:
    x = coarse_images(IMAGES)
    x[1100:] *= 2  # outside the bins
    return x


LABELS = np.array(["cat", "dog", "carp"])[np.arange(IMAGES) % 3]


@pytest.fixture(scope="module")
def survey(images: Tensor) -> ldam.Survey:
    return ldam.survey(functional(), images, labels=LABELS, batch=BATCH, progress=False)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    network = functional()
    with torch.no_grad():
        network.conv1.weight[1] *= -1
        network.conv1.bias[3] = 5  # still constant
        network.conv1.bias[4] += 1
    return network


@pytest.fixture(scope="module")
def other(trained: nn.Module, images: Tensor) -> ldam.Survey:
    return ldam.survey(trained, images, labels=LABELS, batch=BATCH, progress=False)


def test_change_in_another_checkpoint(
    survey: ldam.Survey, other: ldam.Survey, trained: nn.Module, images: Tensor
) -> None:
    here, there = (by_hand(network, images, BATCH)["conv1"] for network in (functional(), trained))
    for row in survey.table("conv1", other):
        a, b = (found.values[:, row.unit].astype(np.float64) for found in (here, there))
        top_a, top_b = ({image for _, image, _ in found.top(row.unit, 9)} for found in (here, there))
        assert row.kept == len(top_a & top_b) / 9
        spread = np.sqrt((a.var() + b.var()) / 2)
        if spread:
            assert row.change == pytest.approx((b.mean() - a.mean()) / spread, rel=1e-3, abs=1e-6)
    table = survey.table("conv1", other)
    assert (table[0].change, table[0].kept) == (0, 1)
    assert table[1].kept < 0.5
    assert np.isnan(table[3].change)  # a constant that differs
    assert table[4].change > 0
    assert table[4].kept == 1  # what is added to all changes no order
    assert "<th>change</th>" in table._repr_html_()
    assert "<th>change</th>" not in survey.table("conv1")._repr_html_()


def test_change_without_correlations(trained: nn.Module, images: Tensor) -> None:
    few = images[:1000]  # all in the bins
    changes = []
    for correlation in (False, True):
        a, b = (
            ldam.survey(network, few, layers="conv1", correlation=correlation, batch=BATCH, progress=False)
            for network in (functional(), trained)
        )
        changes.append([row.change for row in a.table("conv1", b)])
    np.testing.assert_allclose(*changes, rtol=0.05)  # half a bin is less of a standard deviation


def test_a_table_with_another_survey_that_does_not_fit(survey: ldam.Survey, images: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"other must be a survey of the same images and labels: it is of 600 images.*of 1200"
    ):
        survey.table("fc", ldam.survey(functional(), images[:600], layers="fc", progress=False))
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    wide.fc = nn.Identity()
    with pytest.raises(ValueError, match=r"layer 'fc' is not in this survey"):
        survey.table("fc", ldam.survey(wide, images, labels=LABELS, layers="1", progress=False))
    with pytest.raises(TypeError, match="other must be a Survey of another checkpoint; got Functional"):
        survey.table("fc", functional())  # type: ignore[arg-type]


def test_search(survey: ldam.Survey) -> None:
    table = survey.table("conv1")
    assert [row.unit for row in table.find("2")] == [2]
    assert [row.unit for row in table.find(" DEAD ")] == [2]
    assert {row.best_class for row in table.find("ca")} <= {"cat", "carp"}
    assert len(table.find("")) == 6
    assert [row.unit for row in table.find("conv1 dead")] == [2]
    assert table.find("conv2") == []
    assert "selectivity" in repr(table.find("nothing at all"))


def test_the_distribution_of_a_layer(survey: ldam.Survey, images: Tensor) -> None:
    found = by_hand(functional(), images, BATCH)
    for layer in ("conv1", "fc"):
        values = found[layer].values.astype(np.float64)
        edges, counts = survey.distribution(layer)
        assert sum(counts) == pytest.approx(values.size)
        assert (edges[0], edges[-1]) == (values.min(), pytest.approx(values.max()))
        # below any edge, a unit's share is right but for its values in the bin around the edge
        expected = np.array([(values <= edge).sum() for edge in edges[1:-1]])
        at_most = np.abs(np.cumsum(counts)[:-1] - expected).max()
        widths = [np.diff(survey.histogram(layer, unit).edges)[0] for unit in range(values.shape[1])]
        around = [(np.abs(values - edge) <= widths).sum() for edge in edges[1:-1]]
        assert at_most <= max(around)


def test_weights_of_units() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 2, groups=1), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, groups=2)
    )
    (conv, norm, turned) = (own_weights(network, name, units) for name, units in (("0", 4), ("1", 4), ("3", 6)))
    assert conv is not None
    assert torch.equal(conv, network[0].weight.flatten(1))
    assert norm is not None
    assert norm.shape == (4, 1)
    assert own_weights(network, "2", 4) is None
    assert turned is not None
    x = torch.zeros(1, 4, 1, 1)
    x[0, 1] = 1  # the second input of the first group
    found = network[3](x)[0] - network[3].bias[:, None, None]
    assert torch.allclose(turned.view(6, 2, 2, 2)[:3, 1], found[:3])
    assert found[3:].abs().max() == 0


def test_histograms_of_weights(survey: ldam.Survey) -> None:
    every, one = survey.weights("conv1"), survey.weights("conv1", 1)
    assert every is not None
    assert one is not None
    weight = functional().conv1.weight.detach().numpy()
    assert list(every.counts) == np.histogram(weight, every.edges)[0].tolist()
    assert (one.edges[0], one.edges[-1], sum(one.counts)) == (weight[1].min(), weight[1].max(), 9)
    zero = survey.weights("conv1", 2)  # all the same
    assert zero is not None
    assert sum(zero.counts) == 9
    with pytest.raises(ValueError, match="unit must be from 0 to 5"):
        survey.weights("conv1", 6)


def test_a_sheet_of_top_images(images: Tensor, tmp_path: Path) -> None:
    images = images[:1100]  # from 0 to 1
    survey = ldam.survey(functional(), images, batch=BATCH, progress=False)
    survey.sheet("conv1", tmp_path / "sheet.png", side=48)
    page = np.array(Image.open(tmp_path / "sheet.png"))
    crops = survey.crops("conv1", 0).images  # (9, 1, 3, 3): enlarged sixteenfold
    for j in range(9):
        tile = page[22:70, 64 + j * 52 : 64 + j * 52 + 48]
        expected = np.kron((crops[j, 0].clamp(0, 1) * 255).round().byte().numpy(), np.ones((16, 16), np.uint8))
        assert (tile == expected[..., None]).all()
    survey.sheet("fc", tmp_path / "small.jpg", [3, 1], side=8)
    assert Image.open(tmp_path / "small.jpg").size[1] == 22 + 2 * 12 + 4
    for wrong, message in (
        ([], "units must name at least one"),
        ([9], "unit must be from 0 to 4"),
        (["a"], "unit must be"),
    ):
        with pytest.raises(ValueError, match=message):
            survey.sheet("fc", tmp_path / "x.png", wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="side must be from 8 to 512 pixels; got 0"):
        survey.sheet("fc", tmp_path / "x.png", side=0)
    assert not (tmp_path / "x.png").exists()


def test_a_sheet_shows_units_that_were_never_finite(tmp_path: Path) -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), torch.full((len(x),), torch.nan)], 1)

    network = nn.Sequential(Half(), nn.Identity())
    with pytest.warns(ldam.LDAMWarning, match="NaN or infinite"):
        found = ldam.survey(network, torch.rand(20, 3, 8, 8), layers="1", progress=False)
    found.sheet("1", tmp_path / "sheet.png", side=8)
    assert (np.array(Image.open(tmp_path / "sheet.png"))[34:42, 64:] == 255).all()
    assert found.distribution("1").counts


def test_loaded_alone(survey: ldam.Survey, tmp_path: Path) -> None:
    survey.save(tmp_path / "s")
    alone: Any = ldam.Survey.load(tmp_path / "s")
    assert alone.table("conv1", copy.copy(survey))[0].change == 0
    with pytest.raises(ValueError, match="loaded alone; a sheet need"):
        alone.sheet("conv1", tmp_path / "x.png")
    with pytest.raises(ValueError, match="loaded alone; weights need"):
        alone.weights("conv1")


def test_units_that_never_change_are_counted() -> None:
    """Their bins are as wide as the widest of the layer, though all of their values are one."""
    network = nn.Conv2d(3, 3, 3)
    with torch.no_grad():
        network.weight[1:] = 0
        network.bias[:] = torch.tensor([0.0, 50.0, -2.0])
    r = ldam.survey(network, torch.rand(40, 3, 6, 6), progress=False)
    (layer,) = r.layers
    found = r.distribution(layer)
    assert (found.edges[0], found.edges[-1]) == (-2, 50)
    assert sum(found.counts) == pytest.approx(120)
    assert (found.counts[-1], found.counts[0]) == (40, 40)
    assert [r.percentile(layer, 1, value) for value in (49, 50, 51)] == [0, 50, 100]


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-3, 3), (0, 1)])
def test_a_sheet_of_images_on_any_scale(low: float, high: float, tmp_path: Path) -> None:
    """Black and white are where the images are, though no pixel_range tells it."""
    images = low + (high - low) * torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    r = ldam.survey(nn.Sequential(nn.Conv2d(1, 2, 3)), images, progress=False)
    r.sheet("0", tmp_path / "sheet.png", side=12)
    shown = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))[22:, 64:][:80]  # beside the names
    assert np.unique(shown).size > 40
    assert (shown == 0).mean() < 0.05
