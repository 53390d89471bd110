"""The page of a unit: what it says against a survey, and the ways to another unit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ldam_widget import LDAM, Survey, UnitPage, Watch, survey

from ..conftest import with_fixed_weights
from .conftest import wait_until
from .page import Message, SettlingPage

SHAPE = (3, 12, 12)
Make = Callable[..., tuple[Any, SettlingPage]]


def network(seed: int = 1) -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3)), seed
    ).eval()


def photographs(count: int = 60) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def surveyed() -> Survey:
    return survey(network(), photographs(), progress=False)


@pytest.fixture
def make() -> Iterator[Make]:
    widgets: list[Any] = []

    def made(kind: Any, *where: Any, **options: Any) -> tuple[Any, SettlingPage]:
        settings = {"input_shape": SHAPE, "pixel_range": (0, 1), "play": False, "prior": None, "warm_up": 4}
        widgets.append(kind(network(), *where, **settings | options))
        page = SettlingPage(widgets[-1])
        page.receive(kind="hello", view="a")
        return widgets[-1], page

    yield made
    for widget in widgets:
        widget.close()


def about(
    page: SettlingPage, ended: Callable[[Message], object] = lambda message: "complete" in message
) -> list[Message]:
    """All that is said of the unit shown, up to some message."""
    end = time.monotonic() + 60
    while True:
        now = page.of("unit")[-1]["id"] if page.of("unit") else None
        said = [message for message in page.of("unit") if message["id"] == now]
        if any(ended(message) for message in said):
            return said
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def seen(page: SettlingPage) -> Message:
    return next(
        m["seen"] for m in about(page, lambda m: m.get("seen", {}).get("final")) if m.get("seen", {}).get("final")
    )


def pixels(page: SettlingPage, name: str) -> Any:
    """Of a pane of the newest page, (n, height, width, channels)."""
    for content, buffers in reversed(page.sent):
        for pane, data in zip(content.get("panes", []), buffers, strict=False):
            if content["kind"] == "unit" and pane["name"] == name and pane["encoding"] == "raw":
                return np.frombuffer(data, np.uint8).reshape(pane["shape"])[0]
    raise AssertionError(f"no pane {name}")


def test_it_says_what_the_survey_says(make: Make, surveyed: Survey) -> None:
    _w, page = make(UnitPage, "2", 3, survey=surveyed)
    said, top = seen(page), surveyed.top("2", 3)
    about(page)
    assert [each["value"] for each in said["top"]] == [each.value for each in top]
    assert [each["place"] for each in said["top"]] == [list(divmod(each.place, 8)) for each in top]
    assert sum(said["histogram"]["counts"]) + said["histogram"]["above"] + said["histogram"]["below"] == 60
    whole = photographs()[[each.image for each in top]]
    assert np.abs(pixels(page, "whole") - whole.permute(0, 2, 3, 1).numpy() * 255).max() <= 0.51
    crops = surveyed.crops("2", 3).images
    assert np.abs(pixels(page, "crops") - crops.permute(0, 2, 3, 1).numpy() * 255).max() <= 0.51
    assert pixels(page, "deconvolution").shape == (9, 5, 5, 3)
    assert pixels(page, "optimised").shape[1:3] == SHAPE[1:]


def test_how_pictures_reach_the_model_is_known_from_the_survey() -> None:
    model = network()
    r = survey(model, photographs(), preprocess=lambda x: x * 2, pixel_range=(0, 1), progress=False)
    w = UnitPage(model, "2", 3, survey=r, play=False, prior=None)
    try:
        assert w.sampler.input_shape == SHAPE
        assert w.sampler.pixel_range == (0, 1)
        with torch.no_grad():
            expected = model[:3](w.sampler.images[0, 0][None] * 2)[0, 3]
        centre = expected[expected.shape[0] // 2, expected.shape[1] // 2]
        torch.testing.assert_close(w.sampler.activation[0, 0].cpu(), centre, rtol=1e-3, atol=1e-4)
    finally:
        w.close()
    with pytest.raises(TypeError, match="input_shape is needed"):
        UnitPage(model, "2", 3, play=False)


def test_samples_are_ranked_by_the_largest_value_on_their_map(make: Make, surveyed: Survey) -> None:
    w, page = make(UnitPage, "2", 1, survey=surveyed, chains=2)
    seen(page)
    w.step(6)
    w._call(lambda: w._loop.send_now())
    reading = page.last("frame")["unit"]
    with torch.no_grad():
        expected = network()[:3](w.sampler.images[0])[:, 1].flatten(1).amax(1)
    assert reading["values"] == pytest.approx(expected.tolist(), rel=1e-4)
    assert reading["ranks"] == pytest.approx([surveyed.percentile("2", 1, value) for value in reading["values"]])


def test_with_a_dataset_alone_it_looks_at_the_images_itself(make: Make, surveyed: Survey) -> None:
    _, page = make(UnitPage, "2", 3, dataset=photographs())
    said = seen(page)
    assert [each["value"] for each in said["top"]] == pytest.approx(
        [each.value for each in surveyed.top("2", 3)], rel=1e-5
    )
    assert said["images"] == said["of"] == 60
    assert any(m.get("progress") == {"done": 60, "total": 60} for m in page.of("unit"))


def test_chains_start_from_an_image(make: Make, surveyed: Survey) -> None:
    w, page = make(LDAM, layer="2", neurons=[0, 3], survey=surveyed)
    w.step(8)
    other = w.sampler.images[0]
    w.unit_page(1)
    said = seen(page)
    here = {"id": page.last("unit")["id"], "images": 60}
    for stale in ({"images": 50}, {"id": here["id"] - 1}):
        page.receive(kind="start_from", rank=2, **here | stale)
        assert "others by now" in (w.error or "")
        assert w.sampler.steps == 8
    page.receive(kind="start_from", rank=2, **here)
    image = surveyed.top("2", 3)[2].image
    assert said["top"][2]["name"] == str(image)
    assert torch.allclose(w.sampler.images[1, 0], photographs()[image], atol=1e-6)
    assert torch.equal(w.sampler.images[0], other)
    page.receive(kind="start_from", rank=9, **here)
    assert "no such image" in (w.error or "")


@pytest.mark.slow
def test_the_ways_to_another_unit(make: Make) -> None:
    w, page = make(UnitPage, "2", 3)
    assert (w.layer, w.unit, w.neurons) == ("2", 3, [3])
    w.next(), w.next()
    assert w.unit == 0  # after the last one
    w.previous()
    w.unit = 2
    page.receive(kind="do", what="next_unit")
    page.receive(kind="unit", layer="4", unit=1)
    assert (w.layer, w.unit) == ("4", 1)
    page.receive(kind="do", what="unit_back")
    page.receive(kind="do", what="unit_back")
    assert (w.layer, w.unit) == ("2", 2)
    page.receive(kind="select", neurons=["2", "4"])  # one more: it takes the place of the other
    assert (w.neurons, page.last("unit")["id"] >= 6) == ([4], True)
    w.layer = "0"
    assert (w.layer, w.unit) == ("0", 0)
    for wrong, message in (("3 - 2", "single units"), ("-1", "single units"), (99, "out of range")):
        with pytest.raises(ValueError, match=message):
            w.unit = wrong
    assert (w.layer, w.unit) == ("0", 0)
    assert not page.of("error")


def test_a_page_in_a_panel_follows_and_closes(make: Make) -> None:
    w, page = make(LDAM, layer="2", neurons=[0, 3, "1 - 2"])
    assert page.last("setup")["unit_shown"] is None
    assert page.last("setup")["unit_page"] == "on demand"
    page.receive(kind="unit", column=1)
    assert about(page, lambda m: "subject" in m)[0]["subject"]["unit"] == 3
    w.neurons = [3, 4]  # it stays
    assert page.last("setup")["unit_shown"] is not None
    w.neurons = [4]
    assert page.last("setup")["unit_shown"] is None
    w.unit_page(0)
    w.unit_page(None)
    assert page.last("state")["unit_shown"] is None
    w.neurons = ["1 - 2", 1]
    with pytest.raises(ValueError, match="not a single unit"):
        w.unit_page(0)
    with pytest.raises(ValueError, match="column must be from 0 to 1; got 2"):
        w.unit_page(2)
    w.unit_page(1)
    page.receive(kind="unit", layer="4", unit=2)
    assert (w.layer, w.neurons) == ("4", [2])
    page.receive(kind="do", what="unit_back")
    assert (w.layer, w.neurons) == ("2", ["1 - 2", 1])


def test_bad_input_is_named(make: Make, surveyed: Survey) -> None:
    for options, error, message in (
        ({"survey": "survey/"}, TypeError, "survey must be what ldam.survey"),
        ({"survey": survey(network(2), photographs(), layers="2", progress=False)}, ValueError, "other weights"),
        ({"survey": surveyed, "preprocess": lambda x: 3 * x}, ValueError, "another preprocess="),
        ({"neurons": [1]}, TypeError, "unit= in place of neurons="),
        ({"other_survey": surveyed}, ValueError, "without other"),
        ({"other": network(2), "other_survey": surveyed}, ValueError, "other_survey is of another network"),
    ):
        with pytest.raises(error, match=message):
            make(UnitPage, "2", 0, **options)
    with pytest.raises(ValueError, match="images of shape"):
        make(UnitPage, "2", 0, survey=surveyed, input_shape=(3, 14, 14))


@pytest.mark.slow
def test_the_same_number_in_another_layer_is_another_unit(make: Make, surveyed: Survey) -> None:
    """Keys of neurons do not name their layer."""
    w, page = make(UnitPage, "2", 1, survey=surveyed)
    seen(page)
    page.receive(kind="unit", layer="4", unit=1)
    assert seen(page)["top"][0]["value"] == surveyed.top("4", 1)[0].value
    w.step(2)
    w._call(lambda: w._loop.send_now())
    reading = page.last("frame")["unit"]
    with torch.no_grad():
        expected = network()(w.sampler.images[0])[:, 1].flatten(1).amax(1)
    assert reading["values"] == pytest.approx(expected.tolist(), rel=1e-4)
    w.layer = "0"
    w.unit = 1
    assert seen(page)["top"][0]["value"] == surveyed.top("0", 1)[0].value
    page.receive(kind="do", what="unit_back")
    w, page = make(LDAM, layer="2", neurons=[0, 1], survey=surveyed)
    w.unit_page(0)
    w.layer = "4"
    assert page.last("setup")["unit_shown"] is None


@pytest.mark.slow
def test_another_place_of_the_same_unit_is_optimised_anew(make: Make, surveyed: Survey) -> None:
    w, page = make(UnitPage, "2", 1, survey=surveyed)
    about(page)
    w.unit = "1@0,0"
    about(page)
    first, second = (message["optimised"] for message in page.of("unit") if "optimised" in message)
    assert first != second


def test_images_of_the_survey_are_looked_at_for_layers_that_it_lacks(make: Make, surveyed: Survey) -> None:
    part = survey(network(), photographs(), layers="0", progress=False)
    _, page = make(UnitPage, "2", 3, survey=part)
    assert seen(page)["top"][0]["value"] == pytest.approx(surveyed.top("2", 3)[0].value, rel=1e-5)


@pytest.mark.slow
def test_what_cannot_be_had_is_told_and_the_rest_is_shown(make: Make, tmp_path: Any) -> None:
    class Interrupted(Dataset[Tensor]):
        read = 0

        def __len__(self) -> int:
            return 1500

        def __getitem__(self, index: int) -> Tensor:
            Interrupted.read += 1
            if Interrupted.read > 400:
                raise KeyboardInterrupt
            return photographs()[index % 60]

    with pytest.raises(KeyboardInterrupt):
        survey(network(), Interrupted(), layers="2", out=tmp_path / "s", batch=64, progress=False)
    _, page = make(UnitPage, "2", 3, survey=Survey.load(tmp_path / "s"))
    said = about(page)
    assert any("within the first 1,024 images" in message.get("remark", {}).get("text", "") for message in said)
    assert any("optimised" in message for message in said)


def test_a_network_without_parameters(make: Make) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kernel", network()[0].weight.detach())

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.kernel)  # type: ignore[arg-type]

    w = UnitPage(Fixed(), None, 1, input_shape=SHAPE, pixel_range=(0, 1), play=False, prior=None, dataset=photographs())
    page = SettlingPage(w)
    page.receive(kind="hello", view="a")
    assert not [message["remark"] for message in about(page) if "remark" in message]
    w.close()


def test_a_data_set_that_fails_is_told_while_paused() -> None:
    class Vanishing(Dataset[Tensor]):
        gone = False

        def __len__(self) -> int:
            return 300

        def __getitem__(self, index: int) -> Tensor:
            if self.gone:
                raise OSError("the file has vanished")
            return photographs()[index % 60]

    data = Vanishing()
    w = UnitPage(network(), "2", 3, input_shape=SHAPE, pixel_range=(0, 1), play=False, prior=None, dataset=data)
    data.gone = True
    SettlingPage(w).receive(kind="hello", view="a")
    assert "the file has vanished" in (w.error or "")
    w.close()


def grey(image: Tensor) -> Any:
    return (image * 255).numpy()[..., None]


@pytest.mark.slow
@pytest.mark.parametrize("playing", [False, True])
def test_other_bands_are_shown_on_an_open_page(playing: bool) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)), 1).eval()
    images = torch.rand(60, 5, 12, 12, generator=torch.Generator().manual_seed(3))
    r = survey(model, images, progress=False, pixel_range=(0, 1))
    w = UnitPage(model, "0", 2, survey=r, prior=None, warm_up=4, play=playing)
    page = SettlingPage(w)
    page.receive(kind="hello", view="a")
    about(page)
    top = images[[each.image for each in r.top("0", 2)]]
    if playing:
        w.play()
    for band in (1, 4):
        before = len(page.of("unit"))
        page.receive(kind="display", bands=[band])
        page.settle()
        assert np.abs(pixels(page, "whole") - grey(top[:, band])).max() <= 0.51
        assert np.abs(pixels(page, "crops") - grey(r.crops("0", 2).images[:, band])).max() <= 0.51
        again = page.of("unit")[before:]
        assert not any("seen" in message or "subject" in message for message in again)  # what is chosen stays
        names = {pane["name"] for message in again for pane in message.get("panes", [])}
        assert names == {"whole", "crops", "deconvolution", "optimised"}
    before = len(page.of("unit"))
    w.contrast = "stretched"
    page.settle()
    assert len(page.of("unit")) == before  # it does not concern these pictures
    page.receive(kind="hello", view="b")  # a view that comes later
    later = page.of("unit")[before:]
    assert any("seen" in message for message in later)
    assert np.abs(pixels(page, "whole") - grey(top[:, 4])).max() <= 0.51
    w.close()


def test_another_slice_is_shown_on_an_open_page() -> None:
    model = with_fixed_weights(lambda: nn.Conv3d(1, 3, 3), 1).eval()
    volumes = torch.rand(30, 1, 4, 12, 12, generator=torch.Generator().manual_seed(3))
    r = survey(model, volumes, progress=False, pixel_range=(0, 1))
    w = UnitPage(model, None, 2, survey=r, prior=None, warm_up=4, play=False)
    page = SettlingPage(w)
    page.receive(kind="hello", view="a")
    about(page)
    top = volumes[[each.image for each in r.top(w.layer, 2)], 0]
    assert np.abs(pixels(page, "whole") - grey(top[:, 2])).max() <= 0.51
    w.slice = 3
    page.settle()
    assert np.abs(pixels(page, "whole") - grey(top[:, 3])).max() <= 0.51
    page.receive(kind="set", view="a", rev=1, params={"slice": 0})
    page.settle()
    assert np.abs(pixels(page, "whole") - grey(top[:, 0])).max() <= 0.51
    w.close()


def stale(page: SettlingPage) -> str:
    """What the page says of its weights."""
    now = page.of("unit")[-1]["id"]
    said = [message["stale"] for message in page.of("unit") if message["id"] == now and "stale" in message]
    return str(said[-1]) if said else ""


def train(model: nn.Module) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * weight.sign())


@pytest.mark.slow
@pytest.mark.parametrize("playing", [False, True])
def test_a_page_says_that_the_network_has_other_weights_by_now(playing: bool) -> None:
    model = network()
    r = survey(model, photographs(), progress=False)
    w = UnitPage(model, "2", 3, survey=r, pixel_range=(0, 1), prior=None, warm_up=4, play=False)
    page = SettlingPage(w)
    page.receive(kind="hello", view="a")
    top = seen(page)["top"][0]["value"]
    about(page)
    w.step(2)
    w._call(w.refresh)
    assert not any("stale" in message for message in page.of("unit"))
    before = [weight.detach().clone() for weight in model.parameters()]
    train(model)
    if playing:
        w.play()
        wait_until(lambda: stale(page))
    w._call(w.refresh)
    assert "of the weights that it had when this page was opened" in stale(page)
    w.pause()
    page.receive(kind="hello", view="b")  # a view that comes later is told, too
    assert "survey the network again" in stale(page)
    with torch.no_grad():
        for weight, earlier in zip(model.parameters(), before, strict=True):
            weight.copy_(earlier)
    w._call(w.refresh)
    assert stale(page) == ""
    train(model)
    w._call(w.refresh)
    assert stale(page)
    page.receive(kind="do", what="look_again")  # at the survey's images, as the survey no longer fits
    expected = survey(model, photographs(), "2", progress=False).top("2", 3)[0].value
    assert seen(page)["top"][0]["value"] == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(top, rel=1e-3)
    about(page)
    w._call(w.refresh)
    assert stale(page) == ""
    w.close()


@pytest.mark.slow
def test_a_network_in_training_leaves_its_page_behind() -> None:
    model = network()
    r = survey(model, photographs(), progress=False)
    w = Watch(
        model, input_shape=SHAPE, pixel_range=(0, 1), prior=None, layer="2", neurons=[3], play=False, every=2, survey=r
    )
    page = SettlingPage(w)
    page.receive(kind="hello", view="a")
    w.unit_page(0)
    about(page)
    train(model)
    w.update(), w.update()
    w.scrub(2)
    assert "of its weights at iteration 0." in stale(page)
    w.scrub(0)  # these are the survey's
    assert stale(page) == ""
    w.scrub(2)
    w.unit_page(0)  # opened anew
    about(page)
    w._call(w.refresh)
    assert stale(page) == ""
    w.scrub(0)
    assert "of its weights at iteration 2." in stale(page)
    w.close()
