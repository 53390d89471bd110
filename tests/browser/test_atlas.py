"""The browser of an atlas in a real browser: of an exported folder on a plain web server, and in JupyterLab."""

from __future__ import annotations

import functools
import http.server
import io
import re
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Request, expect

import ldam_widget as ldam
from ldam_widget.atlases.layout import LayerOfAtlas

from ..atlas.synthetic import card_of, rendered, synthetic_atlas
from .axe import violations
from .bridge import Bridge
from .lab import Notebook, Server, soon

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror='document.title=1'>"
LAYERS = {"block.conv1": 200, EVIL: 70, "fc": 10}
Opened = Callable[..., Page]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def served(path: Path) -> Iterator[str]:
    """Address of a folder, as `python -m http.server` serves it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("atlas")
    synthetic_atlas(path / "one", LAYERS).export(path / "site", title=EVIL)
    yield from served(path / "site")


@pytest.fixture
def opened(page: Page, site: str) -> Iterator[Opened]:
    """Opens the page at an address; nothing may be logged as an error, nor fail to load."""
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("requestfailed", lambda request: faults.append(request.url))

    def open_at(hash_: str = "", address: str = site) -> Page:
        page.goto(address + hash_)
        expect(page.locator(".ldam-at-tile").first).to_be_attached()
        return page

    yield open_at
    assert faults == []


def tile(page: Page, unit: int) -> Locator:
    """The control of a unit."""
    return page.locator(".ldam-at-unit").filter(has=page.locator(f"b:text-is('{unit}')"))


DECODED = """async element => {
  const image = new Image();
  image.src = getComputedStyle(element).backgroundImage.slice(5, -2);
  await image.decode();
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def painted(picture: Locator) -> np.ndarray:
    """What is seen of a picture, (height, width, 3)."""
    expect(picture).to_have_attribute("style", re.compile("url"))
    picture.evaluate(DECODED)
    return np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB")).astype(float)


def made_up(name: str, unit: int) -> dict[str, np.ndarray]:
    """The pictures of a unit before they were compressed, (tiles, height, width, 3)."""
    (card,) = (each for each in card_of(LAYERS)["layers"] if each["name"] == name)  # type: ignore[attr-defined]
    pictures = rendered(LayerOfAtlas.read(card), unit // 64, 4, 9).pictures
    return {kind: tiles[unit % 64] for kind, tiles in pictures.items()}


def test_the_right_tiles_are_shown(opened: Opened) -> None:
    """Each picture against the levels that were written; a bright column, t pixels from the left, tells tile t."""
    page = opened("#block.conv1/77")
    shown = page.get_by_role("region", name="unit 77 of block.conv1")
    expect(shown).to_be_visible()
    made = made_up("block.conv1", 77)
    for kind, title in (("samples", "samples"), ("top", "top images")):
        pictures = shown.get_by_role("img", name=title)
        assert pictures.count() == len(made[kind])
        for i in (0, pictures.count() - 1):
            found = painted(pictures.nth(i))
            middle, width = found[len(found) // 2], found.shape[1]
            bright = middle[int((i + 0.5) * width / 16)]
            assert bright.min() > 180
            assert np.abs(middle[int(13.5 * width / 16)] - made[kind][i, 8, 13]).max() < 40  # WebP is lossy
    found = painted(tile(page, 77).locator(".ldam-at-picture"))
    assert np.abs(found[48, 81] - made["average"][0, 8, 13]).max() < 40


def test_browse_search_and_sort(opened: Opened) -> None:
    page = opened()
    assert page.title() != "1"
    expect(page.get_by_text(EVIL).first).to_be_visible()
    page.get_by_role("link", name="block.conv1").click()
    page.get_by_role("searchbox", name="search units").fill("nan")
    expect(page.locator(".ldam-at-tile")).to_have_count(1)
    expect(tile(page, 7)).to_contain_text("failed")
    page.get_by_role("searchbox", name="search units").press("Escape")
    page.get_by_label("show units").select_option("dead")
    expect(page.locator(".ldam-at-tile")).to_have_count(1)
    expect(tile(page, 5)).to_be_visible()
    page.get_by_label("show units").select_option("all")
    page.get_by_label("sort by").select_option("activation")
    values = page.locator(".ldam-at-value").all_inner_texts()
    shown = [float(value.replace("−", "-")) for value in values]
    assert shown == sorted(shown, reverse=True)
    numbers = np.concatenate([rendered_numbers(block) for block in range(4)])
    assert shown[0] == pytest.approx(np.nanmax(numbers), rel=1e-2)


def rendered_numbers(block: int) -> np.ndarray:
    """Mean activations that were written."""
    (card,) = (each for each in card_of(LAYERS)["layers"] if each["name"] == "block.conv1")  # type: ignore[attr-defined]
    activation: np.ndarray = rendered(LayerOfAtlas.read(card), block, 4, 9).numbers["activation"].mean(1)
    return activation


def test_links_and_going_back(opened: Opened) -> None:
    page = opened()
    tile(page, 3).click()
    expect(page.get_by_role("heading", name="block.conv1 3")).to_be_focused()
    assert page.url.endswith("#block.conv1/3")
    page.get_by_role("link", name="fc", exact=False).last.click()
    expect(page.get_by_role("region", name="unit 3")).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("region", name="unit 3 of block.conv1")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("region", name="unit 3")).to_be_hidden()
    page.goto(f"{page.url.split('#')[0]}#{quote(EVIL, safe='')}/69")
    expect(page.get_by_role("region", name="unit 69")).to_be_visible()
    expect(tile(page, 69)).to_be_in_viewport()
    assert not page.locator("img").count()
    address = page.get_by_role("heading", name="69").get_by_role("link")
    assert address.evaluate("link => link.href") == page.url
    likes = page.get_by_role("list", name="similar units").get_by_role("listitem")
    expect(likes).to_have_count(8)
    other = likes.first.inner_text().split()[0]
    likes.first.click()
    expect(page.get_by_role("region", name=f"unit {other} of")).to_be_visible()


def test_by_keyboard_alone(opened: Opened) -> None:
    page = opened()
    page.keyboard.press("/")
    page.locator(".ldam-at").press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tile(page, 0)).to_be_focused()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "PageDown", "PageUp"):
        page.keyboard.press(key)
    columns = page.locator(".ldam-at-tile").evaluate_all(
        "all => new Set(all.map(each => each.getBoundingClientRect().x)).size"
    )
    expect(tile(page, 2 + columns)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name=f"unit {2 + columns} of")).to_be_visible()
    page.keyboard.press("n")
    expect(page.get_by_role("region", name=f"unit {3 + columns} of")).to_be_visible()
    page.keyboard.press("Escape")
    expect(tile(page, 3 + columns)).to_be_focused()
    page.keyboard.press("End")
    expect(tile(page, 199)).to_be_focused()
    expect(tile(page, 199)).to_be_in_viewport()
    page.keyboard.press("]")
    expect(page.locator("[aria-current=page]")).to_contain_text(EVIL)
    expect(tile(page, 0)).to_be_focused()


@pytest.mark.parametrize("width", [700, 1280])
def test_axe_and_widths(opened: Opened, width: int) -> None:
    page = opened("#block.conv1/7")
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_text("about").click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(page.locator(".ldam")).to_have_attribute("data-theme", scheme)
        for unit in (True, False):
            if not unit:
                page.get_by_role("button", name="close unit").click()
            assert violations(page.locator("html")) == []
        tile(page, 5).click()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width


def test_two_atlases(opened: Opened, tmp_path: Path) -> None:
    one = synthetic_atlas(tmp_path / "epoch 1", LAYERS)
    one.export(tmp_path / "site", other=synthetic_atlas(tmp_path / "epoch 10", LAYERS, seed=1))
    for address in served(tmp_path / "site"):
        page = opened("#fc/4", address)
        shown = page.get_by_role("region", name="unit 4 of fc")
        expect(shown.get_by_role("heading", name="epoch 10")).to_be_visible()
        expect(shown.get_by_text("to the other atlas").first).to_be_visible()
        assert tile(page, 4).locator(".ldam-at-picture").count() == 2
        page.get_by_label("sort by").select_option("change")
        values = page.locator(".ldam-at-value").all_inner_texts()
        changes = [float(each) for each in values if each]
        assert len(changes) == 9  # unit 7 failed
        assert changes == sorted(changes, reverse=True)
        assert violations(page.locator("html")) == []


def note(read: list[str], request: Request) -> None:
    read.append(request.url)


def test_many_units_scroll(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many units there are, few tiles are in the page and few sheets are read."""
    monkeypatch.setattr("os.fsync", lambda file: None)  # a thousand files take long to reach the disk
    atlas = synthetic_atlas(tmp_path / "atlas", {"wide": 10_000}, tile=8, chains=1, top=0)
    atlas.export(tmp_path / "site")
    for address in served(tmp_path / "site"):
        page = opened("", address)
        read: list[str] = []
        page.on("request", functools.partial(note, read))
        scroll = page.locator(".ldam-at-scroll")
        for part in (0.2, 0.5, 0.9, 1.0):
            scroll.evaluate("(element, part) => { element.scrollTop = part * element.scrollHeight; }", part)
            page.wait_for_timeout(100)
            assert page.locator(".ldam-at-tile").count() < 200
        expect(tile(page, 9999)).to_be_in_viewport()
        expect(tile(page, 9999).locator(".ldam-at-picture")).to_have_attribute("style", re.compile("url"))
        assert 0 < len(read) < 40  # of 157 sheets


def test_a_page_without_its_files_says_so(page: Page, tmp_path: Path) -> None:
    site = synthetic_atlas(tmp_path / "atlas", {"fc": 10}).export(tmp_path / "site").parent
    (site / "0" / "fc" / "table.json").unlink()
    for address in served(site):
        page.goto(address)
        expect(page.get_by_role("alert")).to_contain_text("0/fc/table.json could not be read: 404")
        (site / "atlas.json").unlink()
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("atlas.json could not be read")
    page.goto((site / "index.html").as_uri())
    expect(page.get_by_text("python -m http.server")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_the_widget(page: Page, tmp_path: Path, dark: bool) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", LAYERS))
    try:
        bridge = Bridge(page, view, dark=dark, width="1000px")
        bridge.until(lambda: bridge.root.locator(".ldam-at-tile").count() > 0)
        view.show("fc", 3)
        bridge.until(lambda: page.get_by_role("region", name="unit 3 of fc").is_visible())
        bridge.settle()
        picture = page.get_by_role("img", name="samples 1")
        expect(picture).to_have_attribute("style", re.compile("url"))
        expect(bridge.root).to_have_attribute("data-theme", "dark" if dark else "light")
        assert violations(bridge.root) == []
        page.get_by_role("button", name="next unit").click()
        bridge.until(lambda: view.selection == ("fc", 4))
        assert "#" not in page.url
    finally:
        view.close()


def test_in_jupyterlab(page: Page, server: Server) -> None:
    synthetic_atlas(server.root / "atlas", LAYERS)
    cell = "import ldam_widget as ldam\nview = ldam.AtlasView('atlas')\nview"
    notebook = Notebook(page, server, server.write([cell]))
    notebook.run_cell(0)
    expect(tile(page, 0)).to_be_visible(timeout=60_000)
    tile(page, 2).click()
    expect(page.get_by_role("region", name="unit 2 of block.conv1")).to_be_visible()
    expect(page.get_by_role("img", name="samples 1")).to_have_attribute("style", re.compile("url"))
    facts = page.locator(".ldam-at-facts")
    sides = facts.evaluate(
        "e => [...e.children].map(row => [...row.children].map(cell => {"
        " const text = document.createRange(); text.selectNodeContents(cell);"
        " const box = text.getBoundingClientRect(); return [box.left, box.right, box.top, box.bottom]; }))"
    )
    box = facts.bounding_box()
    assert box is not None
    assert len(sides) > 4
    assert all(name[1] < text[0] and text[1] <= box["x"] + box["width"] + 1 for name, text in sides), "side by side"
    assert all(max(a[3], b[3]) <= c[2] for (a, b), (c, _) in pairwise(sides)), "one below the other"
    page.keyboard.press("n")
    page.keyboard.press("x")  # would cut the cell
    expect(page.get_by_role("region", name="unit 3 of block.conv1")).to_be_visible()
    assert soon(lambda: notebook.python("print(view.selection)") == "('block.conv1', 3)")
    notebook.python("view.show('fc', 9)")
    expect(page.get_by_role("region", name="unit 9 of fc")).to_be_visible()
    notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    try:  # other tests use the same server
        expect(page.locator(".ldam")).to_have_attribute("data-theme", "dark")
        assert violations(page.locator(".ldam")) == []
    finally:
        notebook.command("apputils:change-theme", {"theme": "JupyterLab Light"})
        expect(page.locator(".ldam")).to_have_attribute("data-theme", "light")
