"""A widget that is played with for a million steps: `python benchmarks/soak.py [--steps N] [--seed N] [--csv FILE]`.

A real kernel runs the widget of the shipped LeNet; a page without a browser paints nothing, acknowledges every frame,
and moves something about ten times a second: sliders within their ranges, play and pause, restart, reset average,
neurons, layers, kernels. Meanwhile the kernel's memory, hooks, threads and objects are noted. Before, it has sampled
every layer with every number of neurons, so that what libraries keep once for every shape is there. Jupyter's own
memory of messages it has seen, up to 65,536 of them, is made short.

The slope of the memory is that of least squares after a warm-up, its standard error that of Newey and West (1987):
what is measured every few seconds is correlated, and plain least squares would be too sure.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.kernel.client import KernelClient, Message, View

MOVES_A_SECOND = 10.0
EVERY = 5.0  # seconds between two measurements
WARM_UP = 0.35  # of the run: until then torch fills its caches of compiled operations, and the allocator its arenas
BUTTONS = {"pause": 4, "restart": 2, "reset_average": 6}  # and how often, beside 80 moves of sliders
PATIENCE = 120.0  # seconds without a frame, while it should play

CELL = """
import ctypes, gc, os, threading
import ldam_widget as ldam

get_ipython().kernel.session.digest_history_size = 256
demo = ldam.demo.mnist("final")
w = ldam.LDAM(demo.model, neurons=range(10), regularizers=[ldam.L2(0.1)], **demo.settings)
w.step(100)
w.diagnostics()  # imports what is imported late
last = w.layer
for layer in w.sampler.layers:
    for count in range(1, min(10, layer.units) + 1):
        w.sampler.select(layer.name, range(count))
        w.sampler.step(3)
w.sampler.select(last, range(10))

class Heap(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

heap = getattr(ctypes.CDLL(None), "mallinfo2", None)  # of glibc
if heap is not None:
    heap.restype = Heap

def hooks(model):
    return sum(len(v) for m in model.modules() for name, v in vars(m).items() if name.endswith("_hooks"))

def measure():
    with open("/proc/self/statm") as file:
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    used = 0 if heap is None else heap().uordblks + heap().hblkhd
    counts = hooks(demo.model), hooks(w.sampler.view), threading.active_count(), len(gc.get_objects())
    return [memory, used, *counts]

w
"""


class Sample(NamedTuple):
    """One measurement."""

    seconds: float
    steps: int
    memory: float  # MB resident
    used: float  # MB that the C library has given out and not got back; 0 where it does not tell
    user_hooks: int
    private_hooks: int
    threads: int
    objects: int


class Player(View):
    """A page with somebody at it. Of what arrives it keeps only the latest."""

    def __init__(self, client: KernelClient, model_id: str, seed: int) -> None:
        self.steps = self.frames = self.moves = 0
        self.errors: Counter[str] = Counter()
        self.setup: dict[str, Any] = {}
        self.playing = True
        self._choosing = False  # another layer, and it has not been answered yet
        self.last_frame_at = time.monotonic()
        self._random = random.Random(seed)
        self._at = (0, 0)  # generation and step of the last frame
        super().__init__(client, model_id)

    def receive(self, message: Message) -> None:
        content = message.content
        kind = content["kind"]
        if kind == "frame":
            self.frames += 1
            gen, steps = content["gen"], content["steps"]
            self.steps += max(0, steps - (self._at[1] if gen == self._at[0] else 0))
            self._at = gen, steps
            self.last_frame_at = message.at
        elif kind == "setup":
            self.setup, self._choosing = content, False
        elif kind == "error" and content["error"]:
            self.errors[content["error"]["message"][:200]] += 1
            self._choosing = False
        if kind in {"setup", "state"}:
            self.playing = content["playing"]
        super().receive(message)
        self.messages.clear()

    def move(self) -> None:
        """Something that a hand might do next."""
        self.moves += 1
        if not self.playing and self._random.random() < 0.5:
            self.do("play")
            return
        deeds: dict[Callable[[], None], int] = {self._slider: 80, self._neurons: 2, self._layer: 1, self._kernel: 1}
        deeds |= {partial(self.do, what): often for what, often in BUTTONS.items()}
        self._random.choices([*deeds], [*deeds.values()])[0]()

    def _slider(self) -> None:
        p = self._random.choice(self.setup["parameters"])
        low, high = p["low"], p["high"]
        if p["log"] and low > 0:
            value = math.exp(self._random.uniform(math.log(low), math.log(high)))
        else:
            value = self._random.uniform(low, high)
        value = round(value) if p["integer"] else value
        self.set(**{p["name"]: min(max(value, low), high)})

    def _neurons(self) -> None:
        if self._choosing:
            return  # of which layer, is not known
        units = next(row["units"] for row in self.setup["layers"] if row["name"] == self.setup["layer"])
        chosen = self._random.sample(range(units), self._random.randint(1, min(10, units)))
        self.say(kind="select", layer=None, neurons=[str(unit) for unit in chosen])

    def _layer(self) -> None:
        self._choosing = True
        self.say(kind="select", layer=self._random.choice(self.setup["layers"])["name"], neurons=None)

    def _kernel(self) -> None:
        self.say(kind="select", kernel=self._random.choice(self.setup["kernel"]["choices"]))


def play(client: KernelClient, player: Player, wanted: int) -> list[Sample]:
    """Until so many steps are done."""
    samples: list[Sample] = []
    begin = due = time.monotonic()
    client.wait(lambda: player.setup, 60, "no setup came")
    while player.steps < wanted:
        player.move()
        time.sleep(1 / MOVES_A_SECOND)
        now = time.monotonic()
        if not player.playing:
            player.last_frame_at = now
        if now - player.last_frame_at > PATIENCE:
            sys.exit(f"no picture for {PATIENCE:g} s after {player.steps} steps; {client.noise()}")
        if now >= due:
            due = now + EVERY
            memory, used, *counts = measure(client)
            samples.append(Sample(now - begin, player.steps, memory / 1e6, used / 1e6, *counts))
            if len(samples) % 60 == 1:
                print(f"{now - begin:6.0f} s  {samples[-1]}", file=sys.stderr, flush=True)
    return samples


def measure(client: KernelClient) -> list[int]:
    """By an expression rather than a cell: cells stay in the kernel's history, which would grow by the measuring."""
    request = {"code": "", "silent": True, "store_history": False, "user_expressions": {"it": "measure()"}}
    answer = client.ask("shell", "execute_request", request, timeout=60)["user_expressions"]["it"]
    if answer["status"] != "ok":
        sys.exit("\n".join(answer["traceback"]))
    return list(json.loads(answer["data"]["text/plain"]))


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least squares, and the standard error of Newey and West with a lag of a tenth of the data."""
    at = np.asarray(x) - np.mean(x)
    values = np.asarray(y)
    spread = float(at @ at)
    b = float(at @ values) / spread
    pull = at * (values - values.mean() - b * at)
    lags = max(1, len(pull) // 10)
    variance = float(pull @ pull)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(pull[lag:] @ pull[:-lag])
    return b, math.sqrt(max(variance, 0.0)) / spread


def table(samples: Sequence[Sample], player: Player) -> str:
    settled = [s for s in samples if s.seconds >= WARM_UP * samples[-1].seconds]
    hours = [s.seconds / 3600 for s in settled]
    tenth = max(1, len(settled) // 10)
    start, end = (np.mean([s.memory for s in part]) for part in (settled[:tenth], settled[-tenth:]))
    b, error = slope(hours, [s.memory for s in settled])
    used, used_error = slope(hours, [s.used for s in settled])
    count, count_error = slope(hours, [s.objects for s in settled])

    def span(name: str) -> str:
        values = [getattr(s, name) for s in samples]
        return f"{min(values)}–{max(values)}"

    rows = {
        "minutes": f"{samples[-1].seconds / 60:.1f}",
        "steps": f"{player.steps:,}",
        "frames acknowledged": f"{player.frames:,}",
        "moves": f"{player.moves:,}",
        "memory after warm-up, at the end (means of a tenth)": f"{start:.1f} MB, {end:.1f} MB",
        "slope of memory ± standard error": f"{b:+.2f} ± {error:.2f} MB an hour",
        "zero within 2 standard errors": "yes" if abs(b) <= 2 * error else "no",
        "slope of memory in use, by the C library": f"{used:+.2f} ± {used_error:.2f} MB an hour",
        "slope of Python objects": f"{count:+.0f} ± {count_error:.0f} an hour",
        "hooks on the user's model": span("user_hooks"),
        "hooks on the sampler's view": span("private_hooks"),
        "threads of the kernel": span("threads"),
        "errors shown": str(sum(player.errors.values())),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| LeNet-5, played with | |", "|---|---|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernel", default="7.4.0", help="version of ipykernel")
    parser.add_argument("--csv", type=Path, help="write every measurement")
    options = parser.parse_args()
    client = KernelClient(options.kernel)
    try:
        player = Player(client, client.run(CELL, timeout=600).model_id, options.seed)
        samples = play(client, player, options.steps)
        noise = client.noise()
    finally:
        client.close()
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([Sample._fields, *samples])
    print(table(samples, player))
    for message, count in player.errors.most_common():
        print(f"\n{count} × {message}")
    if noise:
        sys.exit(f"the kernel said:\n{noise}")


if __name__ == "__main__":
    main()
