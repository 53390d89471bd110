"""A model trains in a cell, and its picture follows in the page: what a user of a notebook sees of `watch`."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from .client import KernelClient, View

pytestmark = pytest.mark.kernel

TRAINING = """
import json

def train(each, seconds=0.0):
    torch.manual_seed(4)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.Dropout(0.2), torch.nn.ReLU(),
        torch.nn.Linear(32, 3),
    ).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    step = each(model, optimizer)
    losses = []
    for iteration in range(250):
        x = torch.randn(32, 1, 8, 8)
        loss = torch.nn.functional.cross_entropy(model(x), (x[:, 0, 2, 2] > 0).long() + (x[:, 0, 5, 5] > 1).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step(iteration)
        losses.append(loss.item().hex())
        time.sleep(seconds)
    end = [p.detach().double().sum().item().hex() for p in model.parameters()]
    print(json.dumps([losses, end, torch.rand(3).tolist()]))
    return model

def watched(model, optimizer):
    global w
    w = ldam.watch(model, every=20, keep=6, decay=0.9, input_shape=(1, 8, 8))

    def step(iteration):
        w.update()
        if iteration == 150:  # a busy machine may need long for what the page asks for meanwhile
            wait(lambda: w.temperature == 0.5 or not handles)
        if iteration == 240:
            wait(lambda: w.shown == 240)
            time.sleep(0.6)  # until it has surely been sent

    return step

def wait(condition):
    end = time.monotonic() + 15
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
"""


def test_a_training_cell(kernel: KernelClient) -> None:
    kernel.run(f"{TRAINING}\nhandles = {kernel.handles_while_busy}")
    cell = kernel.start("model = train(watched, seconds=0.02)")
    kernel.wait(lambda: cell.shown)  # the watch shows itself, before the loop
    view = View(kernel, cell.model_id)
    if kernel.handles_while_busy:
        view.next("frame", lambda f: f.get("watch") and f["watch"]["shown"] >= 60)
        view.say(kind="scrub", index=0)
        view.next("state", lambda s: s["watch"]["shown"] == 0 and not s["watch"]["following"])
        view.do("follow")
        view.next("state", lambda s: s["watch"]["following"] and s["watch"]["shown"] >= 60)
    revision = view.set(temperature=0.5)  # for which the cell waits, where its message is handled meanwhile
    end = kernel.finish(cell).replied_at
    assert cell.reply is not None
    assert cell.reply["status"] == "ok"
    answer = view.next("state", lambda s: s["rev"] == revision)
    if kernel.handles_while_busy:
        assert answer.at < end
    assert kernel.value("w.temperature") == 0.5

    # what came meanwhile
    frames = [m.content for m in view.of("frame") if m.at < end]
    assert all(a["steps"] <= b["steps"] for a, b in pairwise(frames))
    assert len({f["steps"] for f in frames}) >= len(frames) / 2, "sampled, not only sent"
    watches = [f["watch"] for f in frames if f.get("watch")]
    assert len({watch["shown"] for watch in watches}) >= 4
    assert watches[-1]["shown"] == 240
    assert all(len(watch["kept"]) <= 6 and watch["kept"][0] == 0 for watch in watches)

    # the training itself
    assert json.loads(cell.text) == json.loads(kernel.run("_ = train(lambda *_: lambda _: None)").text)

    # and afterwards: back and forth, with exactly those weights
    assert kernel.value("[w.iteration, w.kept[-1], w.following]") == [250, 240, True]
    view.flows()
    begin = time.monotonic()
    view.say(kind="show", what="average")
    view.next("state", lambda s: s["watch"]["source"] == "average", begin)
    for index in (0, 3):
        begin = time.monotonic()
        view.say(kind="scrub", index=index)
        watch = view.next("state", lambda s: not s["watch"]["following"], begin).content["watch"]
        assert watch["shown"] == watch["kept"][index]
        assert kernel.value("w.shown") == watch["shown"]
    view.say(kind="show", what="weights")
    begin = time.monotonic()
    view.do("follow")
    watch = view.next("state", lambda s: s["watch"]["following"], begin).content["watch"]
    assert (watch["shown"], watch["source"]) == (240, "weights")
    assert not [m for m in view.of("error") if m.content["error"]]


def test_a_training_that_is_interrupted(kernel: KernelClient) -> None:
    """`with watch(…, optimizer=…)`: the optimiser is as it was, and the last weights are on show."""
    kernel.run(
        """
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
optimizer = torch.optim.Adam(model.parameters())
w = ldam.watch(model, every=100, input_shape=(1, 8, 8), optimizer=optimizer, display=False)
"""
    )
    view = View(kernel, kernel.run("w").model_id)
    view.next("frame")
    cell = kernel.start(
        """
with w:
    while True:
        optimizer.zero_grad()
        model(torch.randn(8, 1, 8, 8)).square().mean().backward()
        optimizer.step()
        time.sleep(0.001)
"""
    )
    view.next("frame", lambda f: f.get("watch") and f["watch"]["shown"] >= 100)
    kernel.manager.interrupt_kernel()
    kernel.finish(cell)
    assert cell.reply is not None
    assert cell.reply["ename"] == "KeyboardInterrupt"
    cell.outputs.clear()  # the traceback
    iteration, kept = kernel.value("[w.iteration, w.kept]")
    assert kept[-1] == iteration
    assert kernel.value("len(optimizer._optimizer_step_post_hooks)") == 0
    view.next("frame", lambda f: f.get("watch") and f["watch"]["shown"] == iteration)
    same = "all(torch.equal(a, b) for a, b in zip(model.parameters(), w.sampler.view.parameters()))"
    assert kernel.value(same)
