"""What a survey finds, against numpy on all activations."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import LDAMWarning

from ..conftest import with_fixed_weights
from .networks import by_hand, coarse_images, functional

IMAGES, BATCH = 1500, 128  # more than the 1,024 from which the bins follow


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return functional()


@pytest.fixture(scope="module")
def images() -> Tensor:
    x = coarse_images(IMAGES)
    x[1400:1450] = x[100:150]  # equal images
    x[1450:] *= 3  # outside the bins
    return x


@pytest.fixture(scope="module")
def labels() -> Any:
    return np.random.default_rng(0).integers(-1, 4, IMAGES)


@pytest.fixture(scope="module")
def survey(network: nn.Module, images: Tensor, labels: Any) -> ldam.Survey:
    return ldam.survey(network, images, labels=labels, batch=BATCH, progress=False)


def test_top_images_with_ties(survey: ldam.Survey, network: nn.Module, images: Tensor) -> None:
    ties = 0
    for layer, found in by_hand(network, images, BATCH).items():
        for unit in range(survey.units(layer)):
            expected = found.top(unit, 9)
            assert survey.top(layer, unit) == expected, (layer, unit)
            ties += len({value for value, *_ in expected}) < 9
    assert ties > 10  # the control


def test_dead_units_and_zeros(survey: ldam.Survey, network: nn.Module, images: Tensor) -> None:
    assert survey.dead("conv1") == [2]
    assert survey.complete
    assert survey.images == IMAGES
    for layer, found in by_hand(network, images, BATCH).items():
        assert survey.dead(layer) == np.flatnonzero(found.values.max(0) <= 0).tolist()
        for unit in range(survey.units(layer)):
            assert survey.histogram(layer, unit).zeros == (found.values[:, unit] == 0).sum()


def test_histograms_and_percentiles(survey: ldam.Survey, network: nn.Module, images: Tensor) -> None:
    for layer, found in by_hand(network, images, BATCH).items():
        widest = np.ptp(found.values[:1024], axis=0).max()
        for unit in range(survey.units(layer)):
            values = found.values[:, unit].astype(np.float64)
            seen, of = survey.histogram(layer, unit), values[:1024]
            low, high = of.min(), of.max() if of.max() > of.min() else of.min() + widest
            assert (seen.edges[0], seen.edges[-1]) == (low, pytest.approx(high))
            assert seen.below == (values < low).sum()
            assert seen.above == (values > high).sum()
            inside = np.floor((values - low) * (64 / (high - low))).clip(0, 63)[(values >= low) & (values <= high)]
            assert list(seen.counts) == np.bincount(inside.astype(int), minlength=64).tolist()
            assert seen.finite == IMAGES
            assert seen.lowest == values.min()
            assert seen.mean == pytest.approx(values.mean(), abs=1e-6 * np.abs(values).max())
            width = (high - low) / 64
            for value in (values.min() - 1, 0.0, float(np.median(values)), values.max(), values.max() + 1):
                share = 100 * ((values < value).mean() + (values == value).mean() / 2)
                around = 100 * (np.abs(values - value) <= width).mean()  # in the same bin, or one beside it
                assert survey.percentile(layer, unit, value) == pytest.approx(share, abs=around + 1e-9)
            over = sorted(values)[-9] + 1e-3
            share = 100 * ((values < over).mean() + (values == over).mean() / 2)
            assert survey.percentile(layer, unit, over) == pytest.approx(share)


def test_means_classes_and_correlations(survey: ldam.Survey, network: nn.Module, images: Tensor, labels: Any) -> None:
    for layer, found in by_hand(network, images, BATCH).items():
        values, scale = found.values.astype(np.float64), np.abs(found.values).max()
        means = np.stack([values[labels == label].mean(0) for label in range(4)])
        np.testing.assert_allclose(survey.class_means(layer), means, atol=1e-6 * scale)
        table = survey.table(layer)
        best = means.max(0)
        others = (means.sum(0) - best) / 3
        size = np.abs(best) + np.abs(others)
        expected = np.divide(best - others, size, where=size > 0, out=np.zeros_like(size))
        np.testing.assert_allclose([row.selectivity for row in table], expected, atol=1e-5)
        assert [row.best_class for row in table] == [str(label) for label in means.argmax(0)]
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(survey.correlation(layer), np.corrcoef(values.T), atol=2e-3)


def test_the_table(survey: ldam.Survey, tmp_path: Path) -> None:
    table = survey.table("conv1")
    assert [row.name for row in table] == [f"conv1:{i}" for i in range(6)]
    assert [row.dead for row in table] == [False, False, True, False, False, False]
    assert table[2].partner == -1  # constant
    assert np.isnan(table[2].correlation)
    ordered = table.by("max")
    assert [row.max for row in ordered] == sorted((row.max for row in table), reverse=True)
    assert table.by("correlation")[-1].unit in (2, 3)
    assert [row.unit for row in table.by("unit", ascending=True)] == list(range(6))
    assert "<th>selectivity</th>" in table._repr_html_()
    table.csv(tmp_path / "units.csv")
    rows = (tmp_path / "units.csv").read_text().splitlines()
    assert rows[0].startswith("unit,name,dead,mean,max,zero_share,best_class,selectivity,partner,correlation")
    assert rows[3].startswith("2,conv1:2,True,-1.0,-1.0,0.0,")
    assert "conv2" in repr(survey)
    assert "<td>conv2</td>" in survey._repr_html_()
    with pytest.raises(ValueError, match="column must be one of unit, name"):
        table.by("size")


def test_crops(survey: ldam.Survey, images: Tensor, network: nn.Module) -> None:
    crops = survey.crops("conv1", 1)
    assert crops.images.shape == (9, 1, 3, 3)
    for crop, box, top in zip(crops.images, crops.boxes, crops.top, strict=True):
        y, x = divmod(top.place, survey.map("conv1")[1])
        assert box == (y, x, y + 3, x + 3)
        assert torch.equal(crop, images[top.image, :, y : y + 3, x : x + 3])
        (value,) = nn.functional.conv2d(crop, network.conv1.weight, network.conv1.bias)[1].flatten().tolist()
        assert value == pytest.approx(top.value)
    assert survey.crops("fc", 0).images.shape == (9, 1, 8, 8)  # sees everything


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_within_other_modes(mode: Any, survey: ldam.Survey, network: nn.Module, images: Tensor) -> None:
    with mode():
        again = ldam.survey(network, images[:100], progress=False)
        crops = again.crops("conv2", 1, "guided")
    outside = ldam.survey(network, images[:100], progress=False)
    assert again.top("conv2", 1) == outside.top("conv2", 1)
    assert torch.equal(crops.images, outside.crops("conv2", 1, "guided").images)


def test_crops_at_the_border_go_on_with_the_mean() -> None:
    padded = nn.Conv2d(1, 1, 5, padding=2)
    x = torch.rand(40, 1, 6, 9, generator=torch.Generator().manual_seed(0))
    survey = ldam.survey(padded, x, k=30, progress=False)
    (layer,) = survey.layers
    crops = survey.crops(layer, 0)
    assert crops.images.shape[2:] == (5, 5)
    cut = 0
    for crop, top in zip(crops.images, crops.top, strict=True):
        y, left = divmod(top.place, 9)
        whole = torch.full((1, 10, 13), float(x[top.image].mean()))
        whole[:, 2:8, 2:11] = x[top.image]
        torch.testing.assert_close(crop, whole[:, y : y + 5, left : left + 5])
        cut += y < 2 or left < 2
    assert cut > 3


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconv"])
def test_backward_views_of_crops(rule: str, survey: ldam.Survey, images: Tensor, network: nn.Module) -> None:
    crops = survey.crops("conv2", 4, rule)
    height, width = crops.images.shape[2:]
    for crop, box, top in zip(crops.images, crops.boxes, crops.top, strict=True):
        at = divmod(top.place, survey.map("conv2")[1])
        whole = ldam.backward(network, images[top.image][None], "conv2", (4, *at), rule=rule)[0]
        assert (box.height, box.width) == (height, width)  # no padding: nothing is cut off
        torch.testing.assert_close(crop, whole[:, box.top : box.bottom, box.left : box.right])
        assert float(whole.abs().sum()) == pytest.approx(float(crop.abs().sum()), rel=1e-5)  # it sees nothing else
    fc = survey.crops("fc", 0, rule)
    whole = ldam.backward(network, images[fc.top[0].image][None], "fc", 0, rule=rule)
    torch.testing.assert_close(fc.images[:1], whole)


def test_fields_that_follow_from_three_of_them() -> None:
    class Enlarged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(self.conv(x), scale_factor=2)  # every field twice

    conv = nn.Sequential(nn.Conv2d(2, 2, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 2, 3, 1, 1))
    for network, layer in ((conv, "0"), (conv, "2"), (conv, "3"), (Enlarged(), "(output)")):
        x = torch.rand(200, 2, 26, 39, generator=torch.Generator().manual_seed(0))
        survey = ldam.survey(network, x, [layer], k=60, progress=False)
        crops, width = survey.crops(layer, 0), survey.map(layer)[1]
        for box, top in list(zip(crops.boxes, crops.top, strict=True))[::6]:
            at = divmod(top.place, width)
            assert box == ldam.receptive_field(network, layer, (2, 26, 39), at=at), (layer, at)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["CIFAR ResNet-20", "SqueezeNet"])
def test_networks_of_others(name: str) -> None:
    if "LDAM_DATA" not in os.environ:
        pytest.skip("LDAM_DATA does not say where real networks are")
    data = Path(os.environ["LDAM_DATA"])
    spec = importlib.util.spec_from_file_location("models_of_others", data / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    if name == "CIFAR ResNet-20":
        model = models.load_cifar_resnet(data / "weights/cifar10/resnet20.pt", 20)
        pixels = np.load(data / "cifar10/cifar10_lossless_5k.npz")["test_images"][:200]
        x, batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255, 64
    else:
        model = models.SqueezeNet().eval()
        model.load_state_dict(torch.load(data / "weights/imagenet/squeezenet1_0.pt", weights_only=True))
        with zipfile.ZipFile(data / "images/imagenet_sample_200.zip") as zipped:
            files = sorted(file for file in zipped.namelist() if file.endswith((".jpg", ".jpeg", ".JPEG")))[:20]
            pictures = [Image.open(io.BytesIO(zipped.read(file))).convert("RGB").resize((99, 99)) for file in files]
        x, batch = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255 for p in pictures]), 8
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (model.mean, model.std))
    found = by_hand(model, (x - mean) / std, batch)
    survey = ldam.survey(model, x, preprocess=lambda x: (x - mean) / std, batch=batch, progress=False)
    assert set(survey.layers) - {"(output)"} == set(found)
    for layer in found:
        for unit in range(survey.units(layer)):
            assert survey.top(layer, unit) == found[layer].top(unit, 9), (layer, unit)


class Broken(nn.Module):
    """Infinite for bright images, NaN in one channel for dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        y = y / (x.mean((1, 2, 3), keepdim=True) < 0.8).float()
        return torch.cat([torch.log(x.mean((1, 2, 3)) - 0.2).view(-1, 1, 1, 1) + y[:, :1], y[:, 1:]], 1)


def test_what_is_not_finite_is_counted_told_and_left_out() -> None:
    x = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    x[3], x[50], x[77, 0, 2, 2] = 0.95, 0.05, torch.nan
    layer = "(output)"
    with pytest.warns(LDAMWarning) as told:
        survey = ldam.survey(Broken().eval(), x, [layer], progress=False)
    lines = [str(each.message) for each in told]
    assert "4 activations are NaN or infinite and left out: 4 of (output)" in lines
    assert "1 images hold NaN or infinite pixels and are left out, the first is 77" in lines
    assert survey.skipped == {77: "it holds NaN or infinite pixels"}
    assert [survey.histogram(layer, unit).not_finite for unit in range(3)] == [2, 1, 1]
    assert [survey.histogram(layer, unit).finite for unit in range(3)] == [197, 198, 198]
    assert not {3, 50, 77} & {entry.image for entry in survey.top(layer, 0)}
    assert survey.correlation(layer).isfinite().all()


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_units_that_are_silent_on_the_first_images(scale: float) -> None:
    """As in a folder sorted by class."""
    own = torch.Generator().manual_seed(0)
    x = torch.rand(3000, 4, generator=own)
    x[:1024, :2] *= -1
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.copy_(scale * torch.tensor([[1.0, 0, 0, 0], [1, 0.5, 0, 0], [0, 0, 1, 0]]))
        values = model(x).double().numpy()
    survey = ldam.survey(model, x, layers=["1"], progress=False)
    np.testing.assert_allclose(survey.correlation("1"), np.corrcoef(values.T), atol=1e-3)
    for unit in range(3):
        assert survey.histogram("1", unit).mean == pytest.approx(values[:, unit].mean(), rel=1e-6)
        share = 100 * (values[:, unit] < 0.5 * scale).mean()
        assert survey.percentile("1", unit, 0.5 * scale) == pytest.approx(share, abs=1)


def test_a_unit_that_is_never_finite_does_not_hide_the_classes_of_others() -> None:
    class Divided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = with_fixed_weights(lambda: nn.Linear(4, 3), 1), nn.Identity()

        def forward(self, x: Tensor) -> Any:
            y = self.fc(x)
            return self.out(torch.stack([y[:, 0], torch.where(x[:, 0] > 0.5, y[:, 1], torch.nan), y[:, 2] * 0 / 0], 1))

    x = torch.rand(90, 4, generator=torch.Generator().manual_seed(0))
    labels, model = torch.arange(90) % 3, Divided().eval()
    with pytest.warns(LDAMWarning, match="are NaN or infinite"):
        survey = ldam.survey(model, x, layers=["out"], labels=labels, progress=False)
    with torch.no_grad():
        values = model(x).double()
    expected = torch.stack([values[labels == label].nanmean(0) for label in range(3)])
    torch.testing.assert_close(survey.class_means("out"), expected, equal_nan=True, rtol=1e-6, atol=1e-6)
    classes = [row.best_class for row in survey.table("out")]
    assert classes == [*(str(int(expected[:, unit].argmax())) for unit in (0, 1)), ""]
    for row in survey.table("out")[:2]:
        best, *others = sorted(expected[:, row.unit].tolist(), reverse=True)
        mean = sum(others) / 2
        assert row.selectivity == pytest.approx((best - mean) / (abs(best) + abs(mean)), rel=1e-4)


def test_backward_views_are_not_of_weights_that_came_later(images: Tensor) -> None:
    model = functional()
    survey = ldam.survey(model, images[:100], progress=False)
    with torch.no_grad():
        model.fc.bias += 1
    assert len(survey.crops("conv2", 0).images) == 9
    with pytest.raises(ValueError, match="weights have changed since the survey"):
        survey.crops("conv2", 0, "guided")


def test_attention_recurrent_layers_and_tokens() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, 4)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.lstm = nn.LSTM(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.block(self.embed(x).flatten(2).transpose(1, 2))
            return self.lstm(tokens.transpose(0, 1))[0][-1]

    x = torch.rand(30, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    model = Mixed().eval()
    survey = ldam.survey(model, x, batch=30, progress=False)
    assert {"embed", "block", "block.linear1", "block.norm2", "lstm[0]"} <= set(survey.layers)
    assert (survey.units("block"), survey.map("block")) == (8, (9,))
    assert (survey.units("lstm[0]"), survey.map("lstm[0]")) == (5, (9,))
    outputs = ldam.activations(model, x, ["block", "lstm[0]"])
    tokens, states = outputs["block"].movedim(2, 1), outputs["lstm[0]"].permute(1, 2, 0)
    for layer, maps in (("block", tokens), ("lstm[0]", states)):
        value, place = maps[:, 2].max(1)
        top = survey.top(layer, 2)[0]
        assert (top.image, top.place) == (int(value.argmax()), int(place[value.argmax()]))
        assert top.value == pytest.approx(float(value.max()), abs=1e-6)


def test_the_model_and_the_random_numbers_stay_as_they_are(images: Tensor) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            y: Tensor = self.drop(self.norm(self.conv(x)))
            return y + torch.rand_like(y)

    network = Counting().train()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with pytest.warns(LDAMWarning, match="training mode|random numbers"):
        survey = ldam.survey(network, images[:300], k=2, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert network.drop.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert len(survey.top("conv", 0)) == 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"layers": "conv9"}, "unknown layer 'conv9'"),
        ({"layers": []}, "layers must be"),
        ({"k": 0}, "k must be an integer ≥ 1; got 0"),
        ({"batch": 1.5}, "batch must be an integer ≥ 1; got 1.5"),
        ({"part": (4, 4)}, r"part must be \(i, n\)"),
        ({"part": 3}, r"part must be \(i, n\)"),
        ({"labels": [1, 2]}, "labels must be one per image"),
        ({"labels": [200_000] * IMAGES}, "labels must be class numbers below 100,000"),
        ({"input_shape": (1, 9, 9)}, "but the model takes"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_bad_arguments(arguments: dict[str, Any], match: str, network: nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match=match):
        ldam.survey(network, images, progress=False, **arguments)


def test_integers_of_numpy(survey: ldam.Survey, network: nn.Module, images: Tensor) -> None:
    assert survey.top("conv1", np.int64(1)) == survey.top("conv1", 1)
    small = ldam.survey(network, images[:20], k=np.int64(2), batch=np.int32(8), progress=False)
    assert len(small.top("conv1", 0)) == 2
    assert json.loads(json.dumps(small.card)) == small.card


def test_bad_questions(survey: ldam.Survey) -> None:
    with pytest.raises(ValueError, match="layer 'conv' is not in this survey"):
        survey.top("conv", 0)
    for unit in (6, -1, True, "0"):
        with pytest.raises(ValueError, match="unit must be from 0 to 5 in layer 'conv1'"):
            survey.top("conv1", unit)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="value must be a number"):
        survey.percentile("conv1", 0, float("nan"))
    with pytest.raises(ValueError, match="rule must be one of"):
        survey.crops("conv1", 0, "saliency")
    assert json.loads(json.dumps(survey.card)) == survey.card
