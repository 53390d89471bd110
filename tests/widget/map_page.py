"""A page with one view of a map, for tests without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator

import ldam_widget as ldam

from .conftest import wait_until

DEFS = json.loads((Path(__file__).parents[2] / "js/src/scatter/protocol.schema.json").read_text("utf-8"))["$defs"]
RNG = np.random.default_rng(5)
POINTS = RNG.normal(size=(40, 2)).astype(np.float32)
IMAGES = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class View:
    """A page with one view, which acknowledges every frame unless it is `slow`."""

    def __init__(self, widget: ldam.Scatter, name: str = "a", slow: bool = False) -> None:
        self.widget, self.name, self.slow = widget, name, slow
        self.said: list[tuple[dict[str, Any], list[bytes]]] = []
        widget.send = self._hear
        self.tell({"kind": "hello", "view": name})

    def _hear(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        direction = Draft202012Validator({"$ref": "#/$defs/FromKernel", "$defs": DEFS})
        plain = json.loads(json.dumps(content, allow_nan=False))
        faults = [error.message for error in direction.iter_errors(plain)]
        self.said.append((plain if not faults else {"kind": f"invalid: {faults}"}, list(buffers or [])))
        if content["kind"] == "frame" and not self.slow:
            self.tell({"kind": "ack", "view": self.name, "seq": content["seq"], "visible": True})

    def tell(self, content: Any, *buffers: bytes, checked: bool = True) -> None:
        if checked:
            Draft202012Validator({"$ref": "#/$defs/ToKernel", "$defs": DEFS}).validate(content)
        data = [memoryview(each) for each in buffers]
        self.widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": data})

    def select(self, indices: list[int], rev: int = 1) -> None:
        mask = np.zeros(self.widget.count, bool)
        mask[indices] = True
        bits = np.packbits(mask, bitorder="little").tobytes()
        self.tell({"kind": "select", "view": self.name, "rev": rev}, bits)

    def do(self, what: str) -> None:
        self.tell({"kind": "do", "what": what})

    def of(self, kind: str) -> list[tuple[dict[str, Any], list[bytes]]]:
        return [each for each in tuple(self.said) if each[0]["kind"] == kind]

    def newest(self, kind: str) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for the first one."""
        wait_until(lambda: self.of(kind))
        return self.of(kind)[-1]

    def positions(self) -> np.ndarray:
        """Of the last frame that has some; waits for the first one."""
        wait_until(lambda: any(content["map"] for content, _ in self.of("frame")))
        content, buffers = [each for each in self.of("frame") if each[0]["map"]][-1]
        box = content["map"]
        levels = np.frombuffer(buffers[0], "<u2").reshape(-1, 2) / 65535
        low, high = np.array([box["left"], box["bottom"]]), np.array([box["right"], box["top"]])
        return low + levels * (high - low)

    def settle(self) -> None:
        for _ in range(3):
            self.widget._loop.call(lambda: None)
        assert not [content for content, _ in self.said if content["kind"].startswith("invalid")]


@pytest.fixture
def make() -> Iterator[Any]:
    widgets: list[ldam.Scatter] = []

    def made(points: Any = POINTS, **options: Any) -> ldam.Scatter:
        widgets.append(ldam.Scatter(points, **options))
        return widgets[-1]

    yield made
    for widget in widgets:
        widget.close()
