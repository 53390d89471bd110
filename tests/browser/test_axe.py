"""axe-core finds nothing to object to, in any view and in both themes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .axe import violations, violations_in_both_themes
from .bare import BarePanel
from .bridge import Bridge

pytestmark = pytest.mark.browser
SETTINGS: dict[str, Any] = {"input_shape": (3, 8, 8), "seed": 0, "play": False, "warm_up": 5}
MISTAKE = {"kind": "error", "error": {"message": "the model is tired", "hint": "let it rest"}}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 30))


def live() -> ldam.LDAM:
    """With all that a panel can have: a prior to choose, slices, real images, many neurons, an interpolation."""
    images = torch.rand(60, 3, 8, 8)
    return ldam.LDAM(
        with_fixed_weights(network),
        neurons=[*range(29), "0 -> 1"],
        class_names=[f"class {i}" for i in range(30)],
        regularizers=[ldam.L2(0.1)],
        dataset=images,
        prior=ldam.Natural.of(images),
        chains=2,
        **SETTINGS,
    )


def compared() -> ldam.Compare:
    models = {"first": with_fixed_weights(network), "second": with_fixed_weights(network, 2)}
    return ldam.compare(models, neurons=range(4), **SETTINGS)


def watched() -> ldam.Watch:
    watching = ldam.watch(with_fixed_weights(network), every=1, neurons=range(4), **SETTINGS)
    for _ in range(3):
        watching.update()
    return watching


@pytest.fixture
def shown(page: Page) -> Iterator[Callable[..., Bridge]]:
    widgets = []

    def show(widget: Any) -> Bridge:
        widgets.append(widget)
        bridge = Bridge(page, widget, width="1200px")
        bridge.until(lambda: bridge.said)
        bridge.settle()
        return bridge

    yield show
    for widget in widgets:
        widget.close()


@pytest.mark.parametrize("make", [live, compared, watched])
def test_panels(shown: Callable[..., Bridge], make: Callable[[], Any]) -> None:
    widget = make()
    bridge = shown(widget)
    assert violations_in_both_themes(bridge.root) == []
    widget.step(60)
    bridge.root.get_by_role("combobox", name="search units").fill("1")
    bridge.settle()
    widget.send(MISTAKE)
    bridge.settle()
    expect(bridge.root.get_by_role("listbox").get_by_role("option").first).to_be_visible()
    expect(bridge.root.get_by_role("alert")).to_contain_text("tired")
    assert violations_in_both_themes(bridge.root) == []


def test_what_unfolds(page: Page) -> None:
    bare = BarePanel(page)
    remarks = [{"label": f"{i}", "text": "R-hat 1.01, 400 effective samples"} for i in range(40)]
    doubts = {"running": False, "level": "warn", "text": "belief: doubtful", "neurons": remarks}
    bare.setup(40, belief=doubts, playing=False)  # or it would soon miss its kernel
    bare.frame({"colors": "signed", "range": [-1, 1]}, burn_in_step=2)
    bare.post({"kind": "diagnosis", "level": "good", "text": "chains agree", "neurons": remarks})
    for button in bare.root.get_by_role("button", name="each neuron").all():
        button.click()
    bare.root.get_by_role("button", name="and 24 more").click()
    bare.root.locator("canvas").first.press("Enter")  # enlarges a tile
    bare.settle()
    expect(bare.root.get_by_label("diagnosis of each neuron")).to_be_visible()
    expect(bare.root.get_by_label("belief of each neuron")).to_be_visible()
    expect(bare.root.locator(".ldam-zoomed")).to_be_attached()
    assert violations_in_both_themes(bare.root) == []


def test_the_toolbox(shown: Callable[..., Bridge]) -> None:
    model, images = with_fixed_weights(network), torch.rand(3, 3, 8, 8)
    bridge = shown(ldam.Toolbox(model, input_shape=(3, 8, 8), images=images))
    bridge.until(bridge.frames)
    bridge.settle()
    assert violations_in_both_themes(bridge.root) == []


def test_an_exported_page(page: Page, tmp_path: Path) -> None:
    widget = live()
    try:
        widget.export_html(tmp_path / "run.html", seconds=0.2)
    finally:
        widget.close()
    page.goto((tmp_path / "run.html").as_uri())
    expect(page.locator(".ldam-speed")).to_contain_text("recorded")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator(".ldam")).to_have_attribute("data-theme", scheme)
        assert violations(page.locator("html")) == []  # the page as a whole: its title, language, landmarks


def test_mistakes_are_found(page: Page) -> None:
    page.set_content('<div id="root"><button></button><input><p style="color: #bbb">pale</p><img src="x"></div>')
    found = "\n".join(violations(page.locator("#root")))
    for rule in ("button-name", "label", "color-contrast", "image-alt"):
        assert f"{rule}:" in found


def test_a_panel_whose_kernel_is_silent(shown: Callable[..., Bridge]) -> None:
    """Its pictures fade, and its text stays readable."""
    bridge = shown(live())
    bridge.silent = True
    bridge.root.get_by_role("button", name="restart").click()
    expect(bridge.root).to_have_attribute("data-silence", "stopped")
    assert violations_in_both_themes(bridge.root) == []
