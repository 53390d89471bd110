"""The quick-start cell, run again and again: `python benchmarks/rerun.py [--runs N] [--kernel VERSION]`.

A real kernel and a page without a browser. As JupyterLab does, the page clears the output before each run, and the
name `w` is bound to a new widget; each widget plays until the page has received some pictures. What must stay is one
thread, one widget, and the memory: after the last run within 30 MB of that after the tenth.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.kernel.client import KernelClient, View
from tests.kernel.environments import VERSIONS

LIMIT = 30.0  # MB
FIRST = 10  # run with which the last is compared
PICTURES = 10  # received from each widget
QUICK_START = Path(__file__).parent.parent / "notebooks" / "quickstart.ipynb"
COUNT = """
import gc, threading
import torch

def count():
    rss = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
    threads = sum(thread.name == "ldam-loop" for thread in threading.enumerate())
    alive = [type(each) for each in gc.get_objects() if type(each).__name__ in ("LDAM", "Sampler")]
    samplers = sum(each.__name__ == "Sampler" for each in alive)
    return [rss / 1024, threads, len(alive) - samplers, samplers, threading.active_count()]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--kernel", default=max(VERSIONS), choices=[*VERSIONS], help="version of ipykernel")
    asked = parser.parse_args()
    cells = json.loads(QUICK_START.read_text(encoding="utf-8"))["cells"]
    cell = next("".join(each["source"]) for each in cells if each["cell_type"] == "code")
    client = KernelClient(asked.kernel)
    try:
        client.run(COUNT)
        view, memory = None, {}
        for run in range(1, asked.runs + 1):
            if view is not None:
                view.close()
            view = View(client, client.run(cell, name="quick start").model_id)
            view.next("frame", lambda frame: frame["seq"] >= PICTURES)
            if run in (1, 2, 5) or run % 10 == 0:
                memory[run], loops, widgets, samplers, threads = client.value("count()")
                print(
                    f"{run:4} runs: {memory[run]:6.0f} MB, {loops} loop, {threads} threads, {widgets} widgets, "
                    f"{samplers} samplers",
                    flush=True,
                )
        grown = memory[asked.runs] - memory[FIRST]
        print(f"from run {FIRST} to {asked.runs}: {grown:+.0f} MB (limit {LIMIT:.0f})")
        sys.exit(grown > LIMIT)
    finally:
        client.close()


if __name__ == "__main__":
    main()
