"""The toolbox in a real browser: camera, dropped files, keys, freeze; and in JupyterLab."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .bridge import Bridge
from .conftest import watched_page
from .lab import Notebook, Server, pauses

pytestmark = pytest.mark.browser

SHAPE = (3, 24, 24)
EVIL = "<img src=x onerror='document.title=1'>"
Make = Callable[..., Bridge]


def network(seed: int = 1) -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(
            nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 20, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2000, 3)
        ),
        seed,
    ).eval()


@pytest.fixture
def make(page: Page) -> Iterator[Make]:
    widgets: list[ldam.Toolbox] = []

    def made(*, dark: bool = False, width: str = "auto", **options: Any) -> Bridge:
        images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
        settings = {"images": images, "labels": ["one", EVIL, "three"], "title": "net"} | options
        widget = ldam.Toolbox(network(), input_shape=SHAPE, **settings)
        widgets.append(widget)
        bridge = Bridge(page, widget, dark=dark, width=width)
        bridge.until(lambda: bridge.said)
        if settings["images"] is not None:
            bridge.until(lambda: acknowledged(bridge))
        return bridge

    yield made
    for widget in widgets:
        widget.close()


def acknowledged(bridge: Bridge) -> bool:
    """Whether the newest frame has been painted."""
    seqs = [frame["seq"] for frame in bridge.frames()]
    return bool(seqs) and any(each["kind"] == "ack" and each["seq"] == seqs[-1] for each in bridge.heard)


def grid(bridge: Bridge) -> Locator:
    return bridge.root.locator("canvas.ldam-tb-grid")


def color(canvas: Locator, x: float = 0.5, y: float = 0.5) -> list[int]:
    """Of the pixel at a place of a canvas, from 0 to 1."""
    return canvas.evaluate(
        """(canvas, [x, y]) => Array.from(canvas.getContext("2d").getImageData(
             Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data).slice(0, 3)""",
        [x, y],
    )


def png(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "png")
    return buffer.getvalue()


def drop(bridge: Bridge, files: dict[str, bytes], event: str = "drop") -> None:
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    bridge.root.evaluate(
        """(root, [files, event]) => {
          const data = new DataTransfer();
          for (const [name, text] of Object.entries(files)) {
            data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
          }
          const how = {bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data};
          root.dispatchEvent(event === "paste" ? new ClipboardEvent(event, how) : new DragEvent(event, how));
        }""",
        [encoded, event],
    )


def test_layers_tiles_and_classes(make: Make) -> None:
    bridge = make()
    root, widget = bridge.root, bridge.widget
    assert root.get_by_role("listbox", name="layer").locator("option").all_inner_texts() == [
        "0 · 12", "1 · 12", "2 · 20", "3 · 20", "4 · 2,000", "5 · 3",
    ]  # fmt: skip
    root.get_by_role("listbox", name="layer").select_option("2")
    bridge.until(lambda: widget.layer == "2" and bridge.frames()[-1]["layer"] == "2" and acknowledged(bridge))
    box = grid(bridge).bounding_box()
    assert box is not None
    grid(bridge).click(position={"x": 30, "y": 30})
    bridge.until(lambda: widget.unit == 0)
    grid(bridge).click(position={"x": box["width"] * 0.3, "y": 30})
    bridge.until(lambda: widget.unit not in (0, None))
    bridge.until(lambda: bridge.frames()[-1]["unit"] == [widget.unit])
    expect(root.get_by_role("img", name="unit")).to_have_attribute("aria-label", label(widget))
    rows = root.get_by_role("table", name="class probabilities").get_by_role("row")
    expect(rows).to_have_count(3)
    assert EVIL in "\n".join(rows.all_inner_texts())
    assert bridge.page.title() == "test"  # it stayed text


def label(widget: ldam.Toolbox) -> re.Pattern[str]:

    return re.compile(rf"^unit: 2, {widget.unit}: ")


def test_every_key(make: Make) -> None:
    bridge = make(compare=network(2))
    widget, keyboard = bridge.widget, bridge.page.keyboard
    grid(bridge).focus()

    def press(key: str, wanted: Callable[[], object]) -> None:
        keyboard.press(key)
        bridge.until(wanted, 10)

    press("ArrowRight", lambda: widget.unit == 1)
    press("l", lambda: widget.unit == 2)
    press("j", lambda: widget.unit == 1)
    press("Shift+L", lambda: widget.unit == 4)
    press("Shift+ArrowLeft", lambda: widget.unit == 1)
    bridge.until(lambda: acknowledged(bridge))
    down = widget.unit
    keyboard.press("k")
    bridge.until(lambda: widget.unit != down or widget.unit == 1)
    press("o", lambda: widget.layer == "1")
    press("o", lambda: widget.layer == "2")
    press("u", lambda: widget.layer == "1")
    for rule in ("gradient", "guided", "deconv", "off", "gradient"):
        press("b", lambda rule=rule: widget.rule == rule)
    press("n", lambda: widget.view == "grey")
    press("m", lambda: widget.view == "raw")
    press("d", lambda: widget.pinned is not None)
    press("u", lambda: widget.layer == "0")
    press("a", lambda: widget.show == "backward")
    press("a", lambda: widget.show == "activations")
    press("y", lambda: widget.show == "difference")
    press("y", lambda: widget.show == "activations")
    for gamma in (0.7, 0.5, 0.3, 1):
        press("t", lambda gamma=gamma: widget.gamma == gamma)
    for boost in (0.3, 0.5, 0.8, 1, 0):
        press("Shift+T", lambda boost=boost: widget.boost == boost)
    press("e", lambda: widget.index == 1)
    press("PageDown", lambda: widget.index == 2)
    press("w", lambda: widget.index == 1)
    press("PageUp", lambda: widget.index == 0)
    press("0", lambda: widget.fit == "stretch")
    press("0", lambda: widget.fit == "crop")
    bridge.settle()
    classes = bridge.root.locator(".ldam-tb-classes")
    keyboard.press("8")
    expect(classes).to_be_hidden()
    keyboard.press("8")
    expect(classes).to_be_visible()
    stage = bridge.root.locator(".ldam-tb-stage")
    for where in ("unit", "backward view", None):
        keyboard.press("z")
        expect(stage.get_by_role("img")).to_have_count(1 if where else 0)
        if where:
            expect(stage.get_by_role("img", name=where)).to_be_visible()
    expect(grid(bridge)).to_be_visible()
    keyboard.press("?")
    dialog = bridge.root.get_by_role("dialog", name="keys")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("row")).to_have_count(26)
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert grid(bridge).evaluate("e => e === document.activeElement")
    press("Escape", lambda: widget.pinned is None)


def test_keys_leave_fields_alone(make: Make) -> None:
    bridge = make()
    before = bridge.widget.explorer.choice
    bridge.root.get_by_role("combobox", name="gamma").focus()
    for key in ("e", "b", "z", "t"):
        bridge.page.keyboard.press(key)
    bridge.settle()
    assert (bridge.widget.rule, bridge.widget.index) == (before.rule, 0)
    bridge.root.get_by_role("listbox", name="layer").focus()
    bridge.page.keyboard.press("ArrowDown")
    bridge.until(lambda: bridge.widget.layer == "1")
    bridge.page.keyboard.press("b")
    bridge.until(lambda: bridge.widget.rule == "gradient")


def test_the_camera_and_freezing(make: Make) -> None:
    bridge = make()
    root, widget = bridge.root, bridge.widget
    freeze, camera = (root.get_by_role("button", name=name, exact=True) for name in ("freeze", "camera"))
    expect(freeze).to_be_disabled()
    camera.click()
    bridge.until(lambda: len({frame["answers"] for frame in bridge.frames()} - {None}) > 5)
    expect(camera).to_have_attribute("aria-pressed", "true")
    assert widget.source == "camera"
    red, green, blue = widget.image.mean((1, 2)).tolist()  # Chromium's own: a disc on green
    assert green > 2 * max(red, blue)
    sent = [each["number"] for each in bridge.heard if each["kind"] == "picture"]
    assert max(sent) - max(frame["answers"] or 0 for frame in bridge.frames()) <= 2  # no more wait than it can take
    freeze.click()
    bridge.until(lambda: widget.frozen)
    bridge.settle()
    count, held = len(bridge.frames()), widget.image
    bridge.settle()
    assert len(bridge.frames()) == count
    grid(bridge).focus()
    bridge.page.keyboard.press("o")
    bridge.until(lambda: bridge.frames()[-1]["layer"] == "1")
    torch.testing.assert_close(widget.image, held)
    bridge.page.keyboard.press("f")
    bridge.until(lambda: not torch.equal(widget.image, held))
    bridge.page.keyboard.press("c")
    bridge.until(lambda: widget.source == "images")
    expect(camera).to_have_attribute("aria-pressed", "false")
    bridge.settle()
    count = len(bridge.heard)
    bridge.settle()
    assert len(bridge.heard) == count  # it is off
    camera.click()
    bridge.until(lambda: widget.source == "camera")
    widget.source = "images"  # by Python
    bridge.until(lambda: camera.get_attribute("aria-pressed") == "false")


REFUSES = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '%s'))"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (REFUSES % "NotAllowedError", "is not allowed here"),
        (REFUSES % "NotFoundError", "there is no camera"),
        ("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })", "this front end has no camera"),
    ],
    ids=["forbidden", "none", "unknown"],
)
def test_without_a_camera_the_rest_is_offered(make: Make, broken: str, message: str) -> None:
    bridge = make()
    bridge.page.evaluate(f"() => {{ {broken} }}")
    bridge.root.get_by_role("button", name="camera", exact=True).click()
    alert = bridge.root.get_by_role("alert")
    expect(alert).to_contain_text(message)
    expect(alert).to_contain_text("open, drop or paste pictures instead")
    drop(bridge, {"red.png": png((255, 0, 0))})
    bridge.until(lambda: bridge.widget.source == "files")


def test_dropped_pasted_and_opened_files(make: Make) -> None:
    bridge = make(images=None)
    root, widget = bridge.root, bridge.widget
    expect(root.get_by_text("no picture yet: open, drop or paste one, or use the camera")).to_be_visible()
    drop(bridge, {"red.png": png((255, 0, 0)), "blue.png": png((0, 0, 255))})
    bridge.until(lambda: bridge.frames() and bridge.frames()[-1]["name"] == "blue.png" and acknowledged(bridge))
    picture = root.get_by_role("img", name="picture")
    assert color(picture) == [0, 0, 255]
    root.get_by_role("button", name="previous picture").click()
    bridge.until(lambda: bridge.frames()[-1]["name"] == "red.png" and acknowledged(bridge))
    assert color(picture) == [255, 0, 0]
    drop(bridge, {"green.png": png((0, 255, 0))}, "paste")
    bridge.until(lambda: bridge.frames()[-1]["name"] == "green.png" and acknowledged(bridge))
    assert color(picture) == [0, 255, 0]
    root.get_by_label("open pictures").set_input_files(
        {"name": EVIL, "mimeType": "image/png", "buffer": png((9, 9, 9))}
    )
    bridge.until(lambda: bridge.frames()[-1]["name"] == EVIL)
    drop(bridge, {"notes.png": b"no picture"})
    bridge.until(lambda: any(content["kind"] == "error" and content["error"] for content in bridge.said))
    expect(root.get_by_role("alert")).to_contain_text("notes.png: not a picture that Pillow can read")
    root.get_by_role("button", name="dismiss error").click()
    bridge.until(lambda: widget.error is None)
    assert bridge.page.title() == "test"


def test_a_folder_that_is_dropped(make: Make, tmp_path: Path) -> None:
    """By the protocol of Chromium's own tools, as scripts in a page cannot make entries of a folder."""
    bridge = make(images=None)
    folder = tmp_path / "photos"
    (folder / "inside").mkdir(parents=True)
    (folder / "b.png").write_bytes(png((0, 0, 255)))
    (folder / "inside" / "a.png").write_bytes(png((0, 255, 0)))
    (folder / "notes.txt").write_text("no picture")
    box = bridge.root.bounding_box()
    assert box is not None
    tools = bridge.page.context.new_cdp_session(bridge.page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        where = {"x": box["x"] + 40, "y": box["y"] + 80}
        tools.send("Input.dispatchDragEvent", {"type": event, **where, "data": data})
    bridge.until(lambda: bridge.widget._sources.count == 2)
    bridge.settle()
    assert [file.name for file in bridge.widget._sources._files] == ["b.png", "a.png"]
    assert not [content for content in bridge.said if content["kind"] == "error" and content["error"]]


def test_a_large_file_is_made_smaller_in_the_page(make: Make) -> None:
    bridge = make(images=None)
    noise = Image.frombytes("RGB", (2000, 1000), torch.randint(256, (6_000_000,), dtype=torch.uint8).numpy().tobytes())
    buffer = io.BytesIO()
    noise.save(buffer, "png")
    assert len(buffer.getvalue()) > 4_000_000
    sizes: list[tuple[int, int]] = []
    hear = bridge.widget._sources.hear
    bridge.widget._sources.hear = lambda content, buffers: (
        sizes.append(Image.open(io.BytesIO(bytes(buffers[0]))).size), hear(content, buffers)
    )[1]  # fmt: skip
    drop(bridge, {"noise.png": buffer.getvalue()})
    bridge.until(lambda: bridge.frames())
    assert sizes == [(1600, 800)]


@pytest.mark.parametrize("dark", [False, True])
def test_signed_tiles_follow_the_theme(make: Make, dark: bool) -> None:
    bridge = make(dark=dark)
    assert bridge.frames()[-1]["panes"][1]["signed"]
    expect(bridge.root).to_have_attribute("data-theme", "dark" if dark else "light")
    bridge.widget.show = "backward"  # of the layer itself: zeros everywhere
    bridge.until(lambda: bridge.frames()[-1]["show"] == "backward" and acknowledged(bridge))
    brightness = sum(color(grid(bridge), 0.03, 0.06)) / 3
    assert brightness < 100 if dark else brightness > 200
    expect(bridge.root.get_by_text("pin a unit of a later layer")).to_be_visible()


@pytest.mark.parametrize("width", ["700px", "1200px"])
def test_nothing_overflows(make: Make, width: str) -> None:
    bridge = make(width=width)
    bridge.widget.rule = "guided"
    bridge.settle()
    assert bridge.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    names = bridge.root.locator(":is(button, select, input, canvas):visible").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label') || e.textContent.trim())"
    )
    assert all(names)
    assert len(set(names)) == len(names)


def test_a_view_that_goes_takes_everything_with_it(make: Make) -> None:
    bridge = make()
    bridge.root.get_by_role("button", name="camera", exact=True).click()
    bridge.until(lambda: any(frame["answers"] for frame in bridge.frames()))
    bridge.page.evaluate("window.end()")
    bridge.until(lambda: bridge.heard[-1]["kind"] == "bye")
    expect(bridge.root).to_have_count(0)
    count = len(bridge.heard)
    bridge.settle()
    assert len(bridge.heard) == count


LAB = """
import torch, ldam_widget as ldam
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 9, 3)).eval()
t = ldam.Toolbox(net, input_shape=(3, 16, 16), images=torch.rand(3, 3, 16, 16))
t
"""


def test_in_jupyterlab(browser: Browser, server: Server) -> None:
    """Pictures travel to a real kernel, and keys stay in the toolbox."""
    with watched_page(browser) as page:
        notebook = Notebook(page, server, server.write([LAB, "'last'"], "toolbox.ipynb"))
        notebook.run_cell(0)
        root = page.locator(".ldam-tb")
        expect(root.get_by_role("img", name="picture")).to_be_visible(timeout=60_000)
        cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
        before = page.evaluate(cells)
        root.locator("canvas.ldam-tb-grid").focus()
        for key in ("o", "b", "ArrowRight", "e"):
            page.keyboard.press(key)
        expected = "1 gradient 1 1"
        said = "print(t.layer, t.rule, t.unit, t.index)"
        assert any(notebook.python(said) == expected for _ in pauses(20)), notebook.python(said)
        assert page.evaluate(cells) == before
        root.get_by_label("open pictures").set_input_files(
            {"name": "red.png", "mimeType": "image/png", "buffer": png((255, 0, 0))}
        )
        assert any(
            notebook.python("print(t.source, t.image[:, 3, 3].tolist())") == "files [1.0, 0.0, 0.0]" for _ in pauses(20)
        )
        root.get_by_role("button", name="camera", exact=True).click()
        assert any(
            notebook.python("print(t.source, t.stats['frames_per_second'] > 1)") == "camera True" for _ in pauses(30)
        )
        notebook.python("t.close()")
