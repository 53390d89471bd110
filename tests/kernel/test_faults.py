"""Nothing that a model or a page does may stop the kernel."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from .client import KernelClient, View

pytestmark = pytest.mark.kernel

FRAGILE = """
fuse = 50
class Fragile(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = network()
    def forward(self, x):
        global fuse
        fuse -= 1
        if fuse <= 0:
            raise RuntimeError("the fuse has blown")
        return self.inside(x)
fuse = 10**6
w = widget(Fragile(), play=False)
fuse = 50
w.play()
w
"""


def test_a_model_that_raises(kernel: KernelClient) -> None:
    view = View(kernel, kernel.run(FRAGILE).model_id)
    error = view.next("error", lambda e: e["error"]).content["error"]
    assert "the fuse has blown" in error["message"]
    view.next("state", lambda s: not s["playing"])
    assert "the fuse has blown" in kernel.value("w.error")
    blown, average = kernel.value("[w.sampler.steps, w.sampler.average_images.tolist()]")
    assert 40 <= blown <= 50

    kernel.run("fuse = 10**9\nw.step(2)")  # 2 steps a picture
    image, new = kernel.value("[w.sampler.images.tolist(), w.sampler.average_images.tolist()]")
    pictures = blown // 2 + 1
    weight = (1 - 0.99) / (1 - 0.99**pictures)  # of the newest of so many in an exponential average
    expected = np.array(average) * (1 - weight) + np.array(image) * weight
    np.testing.assert_allclose(new, expected, atol=1e-5)

    since = time.monotonic()
    view.do("play")
    view.next("error", lambda e: e["error"] is None, since)
    view.next("frame", lambda f: f["steps"] > blown + 20, since)
    assert kernel.value("w.error") is None


def test_many_messages_do_not_block_the_kernel(kernel: KernelClient, view: View) -> None:
    """ipykernel 7.0 to 7.3 would handle no more messages after some twenty of these cells: see `patch_shell_socket`."""
    for _ in range(15):
        cells = []
        for _ in range(10):
            cells.append(kernel.start("pass"))
            for _ in range(5):
                time.sleep(0.001)
                view.say(kind="ack", seq=0, visible=True)
        for cell in cells:
            kernel.finish(cell)


LONG = "x" * 10_000
MALFORMED: list[Any] = [
    None, 7, "hello", [], [1, 2], {}, {"kind": None}, {"kind": LONG}, {"kind": ["ack"]}, {"kind": {}},
    {"kind": "ack"}, {"kind": "ack", "seq": "1"}, {"kind": "ack", "seq": float("nan"), "visible": True},
    {"kind": "ack", "seq": 10**400, "visible": True}, {"kind": "ack", "seq": -5, "visible": True},
    {"kind": "ack", "seq": 2**52, "visible": True}, {"kind": "ack", "seq": [], "visible": {}},
    {"kind": "set"}, {"kind": "set", "params": []}, {"kind": "set", "params": LONG, "rev": LONG},
    {"kind": "set", "params": {"step_size": 10**400}, "rev": 1},
    {"kind": "set", "params": {LONG: 1}, "rev": 10**400}, {"kind": "set", "params": {}, "view": LONG},
    {"kind": "set", "params": {"__class__": 1, "close": 1, "_loop": 1, "sampler": 1, "kind": 1}, "rev": 1},
    {"kind": "do"}, {"kind": "do", "what": LONG}, {"kind": "do", "what": ["close"]}, {"kind": "do", "what": "close"},
    {"kind": "select", "layer": LONG}, {"kind": "select", "neurons": [LONG]}, {"kind": "select", "neurons": "0"},
    {"kind": "select", "neurons": []}, {"kind": "select", "neurons": [0]}, {"kind": "select", "neurons": ["-99"]},
    {"kind": "select", "layer": 5, "neurons": {"0": 1}}, {"kind": "hello", "view": LONG}, {"kind": "bye", "view": LONG},
    {"kind": "units"}, {"kind": "units", "layer": LONG, "query": LONG, "offset": -1, "limit": 10**9},
    {"kind": "units", "layer": [], "query": {}, "offset": "a", "limit": float("inf")},
    {"kind": "units", "offset": 10**400, "limit": -10**400},
]  # fmt: skip


def test_malformed_messages(kernel: KernelClient, view: View) -> None:
    for content in MALFORMED:
        view.send(content)
    revision = view.set(l2=1)
    view.next("state", lambda s: s["rev"] == revision)
    view.flows()
    assert kernel.value("[w.l2, w.neurons, w.playing]") == [1, [0, 1, 2], True]
    # and the fixture checks that stderr is empty


OUT_OF_RANGE = [-1, 1e9, float("nan"), float("inf"), "0.1", LONG, None, [], {}, True]


def test_values_out_of_range_are_named(kernel: KernelClient, view: View) -> None:
    before = kernel.value("w.params")
    for value in OUT_OF_RANGE:
        since = time.monotonic()
        revision = view.set(step_size=value, l2=0.5)
        error = view.next("error", since=since).content["error"]["message"]
        assert error.removeprefix("TypeError: ").startswith("step_size must be")
        assert len(error) <= 2000
        state = view.next("state", lambda s, revision=revision: s["rev"] == revision).content  # type: ignore[misc]
        assert state["params"] == {**before, "l2": 0.5}
    view.next("frame", since=since)
    kernel.run("w.temperature = 3")  # states still go out
    view.next("state", lambda s: s["params"]["temperature"] == 3)
