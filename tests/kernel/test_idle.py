"""An idle kernel: pictures flow, sliders and attributes follow each other."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from .client import KernelClient, View

pytestmark = pytest.mark.kernel


def test_frames_flow(view: View) -> None:
    view.flows()
    frames = [m.content for m in view.of("frame")]
    assert np.all(np.diff([f["seq"] for f in frames]) == 1)
    assert np.all(np.diff([f["steps"] for f in frames[5:]]) > 0)
    assert len(frames[-1]["activation"]) == 3
    assert {pane["name"] for f in frames for pane in f["panes"]} == {"sample", "average"}


def test_a_slider_moves_the_attribute(kernel: KernelClient, view: View) -> None:
    revision = view.set(step_size=0.25, l2=2)
    state = view.next("state", lambda s: s["view"] == view.name and s["rev"] == revision).content
    assert state["params"]["step_size"] == 0.25
    assert state["params"]["l2"] == 2
    assert kernel.value("[w.step_size, w.sampler.kernel.step_size, w.l2]") == [0.25, 0.25, 2]


def test_an_attribute_moves_the_slider(kernel: KernelClient, view: View) -> None:
    before = view.next("setup").content["params"]["l2"]
    since = time.monotonic()
    kernel.run("w.l2 = 1")
    assert view.next("state", lambda s: s["params"]["l2"] == 1, since).content["playing"]
    assert before == 0


def test_the_last_of_many_moves_wins(kernel: KernelClient, view: View) -> None:
    for step in range(1, 201):
        last = view.set(step_size=step / 1000)
    view.next("state", lambda s: s["rev"] == last)
    assert kernel.value("w.step_size") == 0.2
    revisions = [m.content["rev"] for m in view.of("state") if m.content["view"] == view.name]
    assert revisions == sorted(revisions)


def test_a_reloaded_page_gets_everything_again(kernel: KernelClient, view: View) -> None:
    view.next("frame", lambda f: f["steps"] >= 60)
    again = View(kernel, view.comm_id)  # the old one sent no goodbye
    setup = again.next("setup").content
    assert setup["playing"]
    assert [unit["key"] for unit in setup["neurons"]] == ["0", "1", "2"]
    trace = setup["trace"]
    assert len(trace["steps"]) == len(trace["activation"]) >= 20
    assert trace["steps"] == sorted(trace["steps"])
    assert all(len(row) == 3 for row in trace["activation"])
    frame = again.next("frame", since=again.of("setup")[0].at).content
    assert frame["gen"] == setup["gen"]
    assert frame["steps"] >= trace["steps"][-1]


def test_the_picture_of_a_paused_widget_is_the_samplers(kernel: KernelClient, view: View) -> None:
    view.next("frame", lambda f: f["steps"] >= 60)
    since = time.monotonic()
    view.do("pause")
    view.next("state", lambda s: not s["playing"], since)
    kernel.run("w.loop.pause()")  # the button does not wait for the step in progress
    steps, samples, averages = kernel.value(
        "[w.sampler.steps, w.sampler.images.tolist(), w.sampler.average_images.tolist()]"
    )
    frame = view.next("frame", lambda f: f["steps"] == steps and len(f["panes"]) == 2, since)
    for pane, buffer, values in zip(frame.content["panes"], frame.buffers[:2], (samples, averages), strict=True):
        assert pane["encoding"] == "raw"
        low, high = pane["range"]
        levels = np.frombuffer(buffer, np.uint8).reshape(pane["shape"])[0, ..., 0]  # (neurons, 8, 8)
        expected = ((np.array(values)[:, 0, 0] - low) / (high - low) * 255).clip(0, 255)
        assert np.abs(levels - expected).max() <= 0.51


def test_pictures_arrive_as_they_were_sent(kernel: KernelClient) -> None:
    """The session does not copy buffers above 64 KiB: a reused one would arrive with later pixels in it."""
    kernel.run(
        """
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(90 * 90, 10))
        w = widget(model, input_shape=(1, 90, 90), play=False)
        sent, send = {}, w.send
        def spy(content, buffers=None):
            if content["kind"] == "frame":
                sent[str(content["seq"])] = [hashlib.sha256(b).hexdigest() for b in buffers]
            send(content, buffers)
        w.send = spy
        """.replace("\n        ", "\n")
    )
    view = View(kernel, kernel.run("w.play()\nw").model_id)
    kernel.wait(lambda: len(view.of("frame")) >= 60)
    view.do("pause")
    view.next("state", lambda s: not s["playing"])
    time.sleep(0.5)
    sent = kernel.value("sent")
    received = {str(m.content["seq"]): [hashlib.sha256(b).hexdigest() for b in m.buffers] for m in view.of("frame")}
    assert len(received) >= 60
    assert max(len(b) for m in view.of("frame") for b in m.buffers) == 81_000
    assert received == {seq: hashes for seq, hashes in sent.items() if seq in received}


def test_downloads(kernel: KernelClient, view: View) -> None:
    view.do("snapshot")
    snapshot = view.next("download")
    assert snapshot.buffers[0].startswith(b"\x89PNG")
    view.do("record")
    view.next("state", lambda s: s["recording"])
    time.sleep(0.5)
    view.do("stop_record")
    recorded = view.next("download", since=snapshot.at)
    assert recorded.content["mime"] == "image/gif"
    assert recorded.buffers[0].startswith(b"GIF89a")
    assert view.next("state", since=recorded.at - 0.5).content["recording"] is False


def test_other_neurons(kernel: KernelClient, view: View) -> None:
    first = view.next("setup").content["gen"]
    view.say(kind="select", layer=None, neurons=["2", "0"])
    setup = view.next("setup", lambda s: s["gen"] > first).content
    assert [unit["key"] for unit in setup["neurons"]] == ["2", "0"]
    frame = view.next("frame", lambda f: f["gen"] == setup["gen"]).content
    assert frame["panes"][0]["shape"] == [1, 2, 8, 8, 1]
    assert kernel.value("w.neurons") == [2, 0]
    view.say(kind="units", layer=setup["layer"], query="1", offset=0, limit=10)
    assert [unit["key"] for unit in view.next("units").content["units"]] == ["1"]
