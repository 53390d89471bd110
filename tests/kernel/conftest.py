from __future__ import annotations

from collections.abc import Iterator

import pytest

from .client import KernelClient, View
from .environments import VERSIONS

# Widget messages go to a subshell where the kernel has them, as JupyterLab ≥ 4.4 sends them; tests of busy kernels ask
# for this one as well, where they go to the main thread in a new kernel, as from VS Code.
MAIN_SHELL = f"{max(VERSIONS)} main shell"

PRELUDE = """
import asyncio, hashlib, threading, time
import torch
import ldam_widget as ldam

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()

def widget(model=None, **more):
    return ldam.LDAM(model or network(), **{"input_shape": (1, 8, 8), "seed": 0, **more})

def loops():
    return [thread.name for thread in threading.enumerate()].count("ldam-loop")
"""


def start(route: str) -> KernelClient:
    client = KernelClient(route.split()[0], subshells="main" not in route)
    client.run(PRELUDE)
    client.noise()
    return client


@pytest.fixture(scope="session")
def kernels() -> Iterator[dict[str, KernelClient]]:
    """Those that run, by route: starting one takes longer than most tests."""
    running: dict[str, KernelClient] = {}
    yield running
    for client in running.values():
        client.close()


@pytest.fixture(params=[*VERSIONS])
def shared(request: pytest.FixtureRequest, kernels: dict[str, KernelClient]) -> KernelClient:
    route = request.param
    if route in kernels and not kernels[route].manager.is_alive():  # the test that it died in has failed
        kernels.pop(route).close()
    if route not in kernels:
        kernels[route] = start(route)
    return kernels[route]


@pytest.fixture
def kernel(shared: KernelClient) -> Iterator[KernelClient]:
    """A kernel; the test must leave no thread, and nothing on stderr."""
    yield shared
    shared.turn_page()
    shared.run("import ipywidgets; ipywidgets.Widget.close_all(); w = None")
    assert shared.value("loops()") == 0
    assert shared.noise() == ""


@pytest.fixture
def view(kernel: KernelClient) -> View:
    """A view of a playing widget `w`."""
    view = View(kernel, kernel.run("w = widget()\nw").model_id)
    view.next("setup")
    view.next("frame")
    return view
