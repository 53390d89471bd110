"""All messages between widgets and pages, checked against their schema: js/src/protocol.schema.json."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from torch import Tensor, nn

from ldam_widget import L2, LDAM, Compare, LayerPage, Recipe, UnitPage, Watch, survey
from ldam_widget.kernels import BAOAB
from ldam_widget.widget.parts import verdicts

from ..conftest import with_fixed_weights
from .conftest import loop_threads, wait_until
from .page import FakePage, Message

SCHEMA = json.loads((Path(__file__).parents[2] / "js/src/protocol.schema.json").read_text(encoding="utf-8"))
DEFS: dict[str, dict[str, Any]] = SCHEMA["$defs"]
RGB = (3, 12, 12)
NAMES = ["nil", "one", "two", "three", "four"]


def kinds(direction: str) -> dict[str, str]:
    """Kind -> its definition."""
    names = [name_of(each) for each in DEFS[direction]["oneOf"]]
    return {DEFS[name]["properties"]["kind"]["const"]: name for name in names}


def name_of(reference: dict[str, str]) -> str:
    return reference["$ref"].removeprefix("#/$defs/")


def faults(message: Any, direction: str) -> list[str]:
    """Where a message violates the schema."""
    definition = kinds(direction).get(message["kind"])
    if definition is None:
        return [f"unknown kind {message['kind']}"]
    check = Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": DEFS})
    return [f"{definition}{error.json_path[1:]}: {error.message:.200}" for error in check.iter_errors(message)]


# ---- a page that uses everything -------------------------------------------------------------------------------------


class Page(FakePage):
    """A page that keeps what it received as JSON, what it sent (`told`), and what of that had no effect (`missed`)."""

    def __init__(self, widget: Any) -> None:
        self.told: list[Message] = []
        self.missed: list[Message] = []
        super().__init__(widget)

    def record(self, content: Message, buffers: list[bytes] | None = None) -> None:
        super().record(json.loads(json.dumps(content, allow_nan=False)), buffers)  # strict: JSON has no NaN

    def tell(self, effect: Callable[[], object], kind: str, **fields: Any) -> None:
        """Send a message; `effect()` should then return something else than before."""
        before, message = effect(), {"kind": kind, **fields}
        self.told.append(message)
        self.deliver(message)
        self.settle()
        end = time.monotonic() + 20
        while effect() == before:
            if time.monotonic() > end:
                self.missed.append(message)
                return
            time.sleep(0.002)

    def press(self, effect: Callable[[], object], what: str) -> None:
        self.tell(effect, "do", what=what)

    def count(self, kind: str) -> Callable[[], int]:
        return lambda: len(self.of(kind))

    @property
    def shown(self) -> object:
        """Number of the page of a unit that is open."""
        return self.of("state")[-1]["unit_shown"] if self.of("state") else None

    def completed(self) -> int:
        """How many pages of units are complete."""
        return sum("complete" in message for message in self.of("unit"))

    def answers(self) -> object:
        """Something that an acknowledgement changes."""
        return self.widget.stats["round_trip_ms"]

    def play_until(self, seen: Callable[[], object]) -> None:
        """Play, and acknowledge late, so that pictures find no room and travel with the next one."""
        self.widget.play()
        end = time.monotonic() + 120
        while not seen() and time.monotonic() < end:
            time.sleep(0.04)
            self.deliver({"kind": "ack", "view": "a", "seq": self.of("frame")[-1]["seq"], "visible": True})
        self.widget.pause()
        self.settle()


def network(seed: int = 1) -> nn.Module:
    side = RGB[1]
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 6), nn.Tanh(), nn.Linear(6, 5)), seed
    )


def photographs(count: int = 40) -> Tensor:
    return torch.rand(count, *RGB, generator=torch.Generator().manual_seed(3))


def single() -> Page:
    """One network, real images, and a discriminator that is trained on them."""
    options: dict[str, Any] = {"class_names": NAMES, "chains": 2, "warm_up": 4, "regularizers": [L2(1.0)]}
    w = LDAM(network(), input_shape=RGB, pixel_range=(0, 1), play=False, dataset=photographs(), **options)
    page = Page(w)
    page.tell(page.count("setup"), "hello", view="a")
    w.step(8)
    w.enlarge("one", chain=1)
    page.play_until(lambda: page.of("diagnosis") and any("earlier" in frame for frame in page.of("frame")))
    page.press(lambda: w.sampler.steps, "step")
    page.press(lambda: w.playing, "play")
    page.tell(page.answers, "ack", view="a", seq=page.of("frame")[-1]["seq"], visible=True)
    page.tell(lambda: w.l2, "set", view="a", rev=1, params={"l2": 0.5})
    page.tell(lambda: w.l2, "set", view="a", rev=2, params={"l2": 0.25}, seq=page.of("frame")[-1]["seq"])
    page.press(lambda: w.playing, "pause")
    page.press(lambda: page.of("state")[-1]["recording"], "record")
    w.step(3)
    page.press(page.count("download"), "stop_record")
    page.press(page.count("download"), "snapshot")
    page.press(lambda: sum(state["belief"]["running"] for state in page.of("state")), "belief")
    page.press(page.count("state"), "stop_belief")
    page.press(lambda: w.sampler.warming_up, "measure_scales")
    w.step(20)
    page.press(lambda: w.sampler.heating, "heat")
    page.press(page.count("frame"), "reset_average")
    page.press(lambda: w.sampler.steps, "restart")
    page.tell(lambda: w.error, "select", layer="of tomorrow")
    page.press(lambda: w.error, "dismiss_error")
    page.tell(lambda: w.neurons, "select", neurons=["3", "1"])
    page.tell(lambda: w.neurons, "select", wired_to=3)
    page.tell(lambda: w.layer, "select", layer="3")
    page.tell(lambda: w.kernel.name, "select", kernel="GHMC")
    page.tell(lambda: w.prior is None, "select", prior="pixels")
    page.tell(page.count("units"), "units", layer="3", query="", offset=1, limit=3)
    page.tell(page.count("units"), "units", layer="3", query="one - 0.5*two", offset=0, limit=3)
    page.tell(page.count("units"), "units", layer="3", query="one - twoo", offset=0, limit=3)
    page.tell(lambda: w.neurons, "select", neurons=["3", "1 - 1:2", "3 -> 4"])
    page.tell(lambda: w.interpolation, "set", view="a", rev=3, params={"interpolation": 0.5})
    w.train_discriminator(recipe=Recipe(batch=8, steps=2, pool=2))
    page.press(lambda: w.training, "stop_train")
    page.press(lambda: w.training, "train")
    page.play_until(lambda: any(frame.get("training") for frame in page.of("frame")))
    page.press(lambda: w.discriminator_only, "discriminator_only")
    page.press(lambda: w.discriminator_only, "with_neurons")
    w.set(goal="p50")
    page.tell(page.count("setup"), "hello", view="b", hides=True)  # with the course of the training
    return page


def several() -> Page:
    """Two networks side by side."""
    models = {"a": network(1), "b": network(2)}
    w = Compare(models, input_shape=RGB, pixel_range=(0, 1), play=False, dataset=photographs(), kernel=BAOAB(0.1))
    page = Page(w)
    page.tell(page.count("setup"), "hello", view="a")
    page.play_until(lambda: any("earlier" in frame for frame in page.of("frame")))
    page.tell(lambda: w.freed, "lock", name="temperature", locked=False)
    page.tell(lambda: w.params["temperature@1"], "set", view="a", rev=1, params={"temperature@1": 0.5})
    page.tell(lambda: w.freed, "lock", name="temperature", locked=True)
    page.tell(lambda: w.show, "show", what="samples")
    page.tell(lambda: w.show, "show", what="averages")
    page.press(lambda: w.is_ranking, "scan")
    page.press(lambda: w.is_ranking, "stop_scan")
    w.rank_layer()
    return page


def in_training() -> Page:
    """A network that trains, large pictures, and neither real images nor names of classes."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(200 * 200, 3)).train()
    w = Watch(model, input_shape=(1, 200, 200), play=False, every=2, decay=0.9)
    page = Page(w)
    page.tell(page.count("setup"), "hello", view="a")
    for _ in range(6):
        w.update()
    page.play_until(lambda: any(pane["encoding"] == "jpeg" for frame in page.of("frame") for pane in frame["panes"]))
    page.tell(lambda: w.shown, "scrub", index=0)
    page.press(lambda: w.following, "follow")
    page.tell(lambda: w.source, "show", what="average")
    page.tell(lambda: page.shown, "unit", column=0)
    wait_until(lambda: page.completed())
    with torch.no_grad():
        model[1].weight.add_(0.01)
    w.update(), w.update()
    w.follow()
    wait_until(lambda: any("stale" in message for message in page.of("unit")))
    page.press(lambda: page.shown, "look_again")
    page.press(lambda: page.shown, "close_unit")
    w.play()
    page.tell(lambda: bool(loop_threads()), "bye", view="a")  # no view is left: it rests
    return page


def of_many_bands() -> Page:
    """A layer that sees little of pictures with five bands."""
    model = with_fixed_weights(lambda: nn.Conv2d(5, 4, 3), 1)
    w = LDAM(model, input_shape=(5, 12, 12), pixel_range=(0, 1), play=False)
    page = Page(w)
    page.tell(page.count("setup"), "hello", view="a")
    page.tell(lambda: w.contrast, "display", contrast="stretched")
    page.tell(lambda: w.contrast, "display", contrast="as it is")
    page.tell(lambda: w.bands, "display", bands=[3, 2, 1])
    page.tell(lambda: w.crop, "display", cropped=False)
    return page


def of_a_layer() -> Page:
    """The table of a layer's units, without and with one of them open."""
    r = survey(network(), photographs(), "2", labels=[0, 1] * 20, progress=False)
    w = LayerPage(network(), "2", survey=r, other=network(2))
    page = Page(w)
    page.tell(page.count("unit_table"), "hello", view="a")
    page.tell(lambda: w.unit, "open_unit", unit=3)
    w.pause()
    for what in ("csv", "sheet"):
        page.tell(page.count("download"), "export_units", what=what, column="max", ascending=False, query="")
    return page


def surveyed() -> nn.Module:
    """Its first unit is dead."""
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)), 1)
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = 0, -1
    return model.eval()


def of_units() -> Page:
    """Pages of units, on demand, from a survey."""
    model = surveyed()
    r = survey(model, photographs(), progress=False)
    w = LDAM(model, layer="0", neurons=[1, 2], input_shape=RGB, pixel_range=(0, 1), play=False, survey=r)
    page = Page(w)
    page.tell(page.count("setup"), "hello", view="a")
    page.tell(page.count("units"), "units", layer="0", query="", offset=0, limit=3)
    page.tell(lambda: page.shown, "unit", column=1)
    page.tell(page.completed, "unit", column=0)
    page.tell(lambda: w.sampler.images[0].sum().item(), "start_from", id=page.last("unit")["id"], images=40, rank=1)
    page.press(lambda: page.shown, "next_unit")
    page.press(lambda: page.shown, "previous_unit")
    page.tell(lambda: w.neurons, "unit", layer="0", unit=3)
    page.press(lambda: w.neurons, "unit_back")
    page.tell(lambda: w.layer, "unit", layer="2", unit=1)
    page.press(lambda: w.layer, "unit_back")
    page.press(lambda: page.shown, "close_unit")
    return page


def of_one_unit() -> Page:
    """The page of a unit of two networks, with pixels that an optimiser does not take."""
    w = UnitPage(
        surveyed(), "2", 1, other=surveyed(), input_shape=RGB, dataset=photographs(), prior=None, warm_up=4, play=False
    )
    page = Page(w)
    page.tell(page.completed, "hello", view="a")
    w.step(2)
    return page


CONVERSATIONS = (single, several, in_training, of_many_bands, of_a_layer, of_units, of_one_unit)


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    held = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verdicts, "PERIOD", 0.1)
        patched.setattr(torch.cuda, "is_available", lambda: False)
        for converse in CONVERSATIONS:
            page = converse()
            page.widget.close()
            held.append(page)
    return held


def test_every_message_of_a_widget_is_as_declared(pages: list[Page]) -> None:
    found = {fault for page in pages for message, _ in page.sent for fault in faults(message, "FromKernel")}
    assert not found


def test_every_message_of_a_page_is_understood(pages: list[Page]) -> None:
    """Those that the schema declares, and all of them."""
    told = [message for page in pages for message in page.told]
    assert not {fault for message in told for fault in faults(message, "ToKernel")}
    assert [page.missed for page in pages] == [[]] * len(CONVERSATIONS)


# ---- nothing is declared that is never sent --------------------------------------------------------------------------


Seen = dict[tuple[str, str], set[str]]  # of a definition's field: "there", "absent", and the words of an enum


def look(part: dict[str, Any], value: Any, seen: Seen, at: tuple[str, str] = ("", "")) -> None:
    """Note what of a definition a valid value makes use of."""
    while "$ref" in part:
        name = name_of(part)
        part, at = DEFS[name], at if at[0] else (name, "")
        if "properties" in part:
            at = (name, "")
    if value is None:
        return
    if "enum" in part:
        seen[at].add(value)
    elif "anyOf" in part:
        (other,) = [each for each in part["anyOf"] if each.get("type") != "null"]
        look(other, value, seen, at)
    elif "properties" in part:
        for field, inner in part["properties"].items():
            seen[at[0], field].add("there" if field in value else "absent")
            if field in value:
                look(inner, value[field], seen, (at[0], field))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            look(part["prefixItems"][i] if "prefixItems" in part else part["items"], each, seen, at)
    elif isinstance(value, dict):
        for each in value.values():
            look(part["additionalProperties"], each, seen, at)


def test_whatever_is_declared_is_sent(pages: list[Page]) -> None:
    seen: Seen = defaultdict(set)
    for page in pages:
        for messages, direction in (([m for m, _ in page.sent], "FromKernel"), (page.told, "ToKernel")):
            for message in messages:
                look({"$ref": f"#/$defs/{kinds(direction)[message['kind']]}"}, message, seen)
    for name, part in DEFS.items():
        for field in part.get("properties", ()):
            assert "there" in seen[name, field], f"{name}.{field} is declared, but never sent"
            if field not in part["required"]:
                assert "absent" in seen[name, field], f"{name}.{field} is always sent: it is required"
    for name, field in (("Do", "what"), ("Pane", "encoding")):
        part = DEFS[name]["properties"][field]
        assert set(DEFS[name_of(part)]["enum"] if "$ref" in part else part["enum"]) <= seen[name, field]


# ---- what our own page never sends -----------------------------------------------------------------------------------


NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=3,
)


@st.composite
def near_misses(draw: st.DrawFn, good: list[dict[str, Any]]) -> Any:
    """A message that a page has sent, with a field lost, or another value in one, or a field too many."""
    message = dict(draw(st.sampled_from(good)))
    field = draw(st.sampled_from([*message, "more"]))
    if draw(st.booleans()):
        message.pop(field, None)
    else:
        message[field] = draw(JSON)
    return message


@pytest.fixture(scope="module")
def listeners() -> Iterator[list[Page]]:
    options: dict[str, Any] = {"input_shape": RGB, "pixel_range": (0, 1), "play": False, "kernel": BAOAB(0.1)}
    widgets = [
        LDAM(network(), **options),
        Compare({"a": network(1), "b": network(2)}, **options),
        Watch(network(), **options, every=2, decay=0.9),
    ]
    yield [Page(widget) for widget in widgets]
    for widget in widgets:
        widget.close()


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_near_misses_raise_nothing(
    pages: list[Page], listeners: list[Page], caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    """Neither on the kernel's thread nor on the loop's; and whatever is answered is as declared."""
    message = data.draw(near_misses([message for page in pages for message in page.told]))
    page = data.draw(st.sampled_from(listeners))
    page.deliver(message)
    page.widget.pause()
    page.deliver({"kind": "do", "what": "stop_scan"})  # a ranking goes on while paused
    page.settle()
    # ipywidgets swallows what a message handler raises, and logs it
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    answers, page.sent[:] = tuple(page.sent), []
    assert not [fault for answer, _ in answers for fault in faults(answer, "FromKernel")]
