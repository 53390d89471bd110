"""An exported page, opened from disk with the network off."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .lab import soon

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)></script>"


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "run.html"
    w = ldam.LDAM(
        with_fixed_weights(network),
        input_shape=(1, 8, 8),
        class_names=[EVIL, "one", "two"],
        kernel=ldam.kernels.Algorithm1(),
        steps_per_frame=2,
        play=False,
    )
    try:
        w.export_html(path, seconds=1.5)
    finally:
        w.close()
    return path


@pytest.fixture
def played(page: Page, exported: Path) -> Page:
    page.context.set_offline(True)
    page.set_default_timeout(20_000)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(exported.as_uri())
    expect(page.locator(".ldam-speed")).to_contain_text("recorded")
    assert not errors
    return page


def picture(page: Page) -> str:
    drawn: str = page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
    return drawn


def expect_step(page: Page, step: int) -> None:
    expect(page.locator(".ldam-trace").get_by_text(f"step {step}", exact=True)).to_be_visible()


def test_it_plays_to_its_end_and_again(played: Page) -> None:
    play, pause = (played.get_by_role("button", name=name, exact=True) for name in ("play", "pause"))
    expect(play).to_be_visible()  # 18 frames of two steps each have been played
    expect_step(played, 36)
    last = picture(played)
    play.click()
    expect(pause).to_be_visible()
    expect(play).to_be_visible()
    assert soon(lambda: picture(played) == last)


def test_steps_and_a_new_beginning(played: Page) -> None:
    played.get_by_role("button", name="pause", exact=True).click()
    played.get_by_role("button", name="restart", exact=True).click()
    expect_step(played, 2)
    played.wait_for_timeout(200)  # the picture is painted
    first = picture(played)
    for _ in range(3):
        played.get_by_role("button", name="step", exact=True).click()
    expect_step(played, 8)
    assert soon(lambda: picture(played) != first)


def test_it_shows_values_and_offers_nothing_that_needs_a_kernel(played: Page) -> None:
    step_size = played.get_by_role("slider", name="step size")
    expect(step_size).to_be_disabled()
    assert float(played.get_by_label("step size value").input_value()) > 0
    names = played.get_by_role("button").evaluate_all(
        "all => all.filter(e => e.offsetParent).map(e => e.ariaLabel ?? e.textContent)"
    )
    assert set(names) <= {"play", "pause", "step", "restart", "full width", "full screen"}
    assert played.locator(".ldam").get_by_text(EVIL).first.is_visible()
    assert not played.locator("img").count()
