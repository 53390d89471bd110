"""What a notebook does beside a widget that plays: forks, resets, deletions, failing training."""

from __future__ import annotations

import pytest

from ...kernel.client import KernelClient, View
from ...kernel.conftest import PRELUDE
from .conftest import NEWEST, eventually

pytestmark = [pytest.mark.kernel, NEWEST]

FORKS = {
    "os.fork": """
import os
pid = os.fork()
if pid == 0:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "a fork that uses the widget": """
import os, signal
pid = os.fork()
if pid == 0:
    signal.alarm(20)  # rather than hang
    before = w.sampler.steps
    w.loop.playing = False
    w.step(4)
    os._exit(7 if w.sampler.steps == before + 4 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "multiprocessing.Pool": """
import multiprocessing
def seven(i):
    return 7 if w.playing else i
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(set(pool.map_async(seven, range(20)).get(60)).pop())
""",
    "DataLoader": """
class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): return torch.full((3,), float(i)) / 4
loader = torch.utils.data.DataLoader(Numbers(), batch_size=2, num_workers=2, multiprocessing_context="fork")
print(int(sum(batch.sum() for batch in loader) / 3))
""",
}


@pytest.mark.parametrize("how", FORKS)
def test_a_fork(kernel: KernelClient, view: View, how: str) -> None:
    assert kernel.run(FORKS[how], timeout=90).text == "7\n"
    view.flows()
    revision = view.set(step_size=0.25)
    view.next("state", lambda s: s["rev"] == revision)
    assert kernel.value("[w.step_size, w.playing, w.error, loops()]") == [0.25, True, None, 1]


@pytest.mark.parametrize("forget", ["%reset -f", "del w"])
def test_a_forgotten_widget(kernel: KernelClient, view: View, forget: str) -> None:
    """As long as it is on the page, it works; then its thread goes."""
    kernel.run(f"{forget}\nimport gc; _ = gc.collect()")
    kernel.run(PRELUDE)
    view.flows()
    revision = view.set(step_size=0.25)
    assert view.next("state", lambda s: s["rev"] == revision).content["params"]["step_size"] == 0.25
    assert kernel.value("loops()") == 1
    view.close()
    eventually(kernel, "loops()", 0)


def test_a_closed_widget_leaves_nothing(kernel: KernelClient) -> None:
    """Neither thread, nor the sampler with its tensors, nor anything attached to the user's model."""
    kernel.run(
        """
import gc, weakref
model = network()
hooks = lambda: sum(len(v) for m in model.modules() for k, v in vars(m).items() if k.endswith("hooks"))
assert hooks() == 0
w = widget(model)
seen = weakref.ref(w.sampler.view)
"""
    )
    view = View(kernel, kernel.run("w").model_id)
    view.flows()
    assert kernel.value("hooks()") == 0, "the user's own model is touched"
    kernel.run("w.close()\nw = None\n_ = __ = ___ = None; Out.clear(); _ = gc.collect()")
    assert kernel.value("[loops(), hooks(), seen() is None]") == [0, 0, True]


CHANGES = {
    "meta": "_ = model.to('meta')",
    "deleted": "del model; import gc; _ = gc.collect()",
    "half": "_ = model.half()",
    "cut": "del model[1]",
    "training": "_ = model.train().requires_grad_(False)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_the_model(kernel: KernelClient, change: str) -> None:
    """The widget looks at the weights that the model had; it goes on, and so does its panel."""
    kernel.run("model = network()\nw = widget(model)")
    view = View(kernel, kernel.run("w").model_id)
    view.next("frame")
    kernel.run(CHANGES[change])
    view.flows()
    first = view.next("setup").content["gen"]
    view.say(kind="select", layer=None, neurons=["2", "0"])
    setup = view.next("setup", lambda s: s["gen"] > first).content
    view.next("frame", lambda f: f["gen"] == setup["gen"])
    assert kernel.value("[w.error, w.playing, w.neurons]") == [None, True, [2, 0]]


def test_weights_that_become_nan(kernel: KernelClient) -> None:
    """As when a training in the next cell diverges: shown in the panel and in `w.error`; averages are kept."""
    kernel.run("model = network()\nw = widget(model)")
    view = View(kernel, kernel.run("w").model_id)
    view.next("frame", lambda f: f["steps"] > 60)
    kernel.run("with torch.no_grad(): kept = model[1].weight.clone(); model[1].weight.fill_(float('nan'))")
    message = view.next("error", lambda e: e["error"]).content["error"]["message"]
    view.next("state", lambda s: not s["playing"])
    assert "NaN" in message
    assert kernel.value("w.error") == message
    assert kernel.value("[w.playing, bool(w.sampler.average_images.isfinite().all())]") == [False, True]
    steps = kernel.value("w.sampler.steps")
    assert steps > 60
    kernel.run("with torch.no_grad(): _ = model[1].weight.copy_(kept)")
    view.do("play")
    view.next("frame", lambda f: f["steps"] > steps + 20)
    assert kernel.value("[w.error, w.playing]") == [None, True]


TRAINING = """
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
w = ldam.watch(model, every=10, input_shape=(1, 8, 8){more}, display=False)

def train(each):
    for iteration in range(1000):
        optimizer.zero_grad()
        model(torch.randn(8, 1, 8, 8)).square().mean().backward()
        optimizer.step()
        each()
        time.sleep(0.002)
        if iteration == 200:
            raise RuntimeError("the data ran out")
"""
WAYS = {
    "called": ("", "train(w.update)"),
    "with": (", optimizer=optimizer", "with w:\n    train(lambda: None)"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_watched_training_that_raises(kernel: KernelClient, way: str) -> None:
    more, code = WAYS[way]
    kernel.run(TRAINING.replace("{more}", more))
    view = View(kernel, kernel.run("w").model_id)
    view.next("frame")
    cell = kernel.finish(kernel.start(code))
    assert cell.reply is not None
    assert (cell.reply["ename"], cell.reply["evalue"]) == ("RuntimeError", "the data ran out")
    cell.outputs.clear()  # the traceback
    view.flows()
    shown = 201 if way == "with" else 200
    view.next("frame", lambda f: f.get("watch") and f["watch"]["shown"] == shown)
    assert kernel.value("[w.error, w.playing, w.following, len(optimizer._optimizer_step_post_hooks), loops()]") == [
        None, True, True, 0, 1,
    ]  # fmt: skip
