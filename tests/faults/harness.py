"""A widget on its real threads, with a page and a model that misbehave on demand, and what must hold after any fault.

Developer notes. The page answers from a thread of its own, as a real one does. Whatever happens in a case, `Bench.end`
looks at the whole of it: threads are gone, nothing is said after the end, nothing was logged or raised where nobody
catches, and the model is as its owner left it.
"""

from __future__ import annotations

import copy
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ldam_widget import LDAM
from ldam_widget.kernels import Algorithm1

from ..conftest import with_fixed_weights
from ..test_untouched import look
from ..widget.conftest import wait_until


class Switch:
    """An extra action of a model, a preprocess or a term; can change while it runs; shared by all copies of a model."""

    def __init__(self) -> None:
        self.act: Callable[[Tensor], Tensor] = lambda x: x

    def __call__(self, x: Tensor) -> Tensor:
        return self.act(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> Switch:
        return self

    def fail(self, error: BaseException, calls: float = float("inf")) -> None:
        """Raise, for so many calls."""
        left = calls

        def act(x: Tensor) -> Tensor:
            nonlocal left
            left -= 1
            if left < 0:
                return x
            raise copy.copy(error)

        self.act = act

    def repair(self) -> None:
        self.act = lambda x: x


class Net(nn.Module):
    """(N, 1, 8, 8) -> (N, 5), through a switch."""

    def __init__(self, switch: Switch) -> None:
        super().__init__()
        self.switch = switch
        self.inside = nn.Linear(64, 6)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc(self.switch(self.inside(x.flatten(1)).tanh()))
        return output


Answers = Callable[[int], Iterable[Any]]


def newest(seq: int) -> Iterable[Any]:
    """A page that answers every frame."""
    return [seq]


class Bench:
    """A widget under test.

    Args:
        model: None is a `Net` behind `switch`.
        answers: what the page acknowledges when a frame arrives.
        options: of the widget.
    """

    def __init__(self, model: nn.Module | None = None, answers: Answers = newest, **options: Any) -> None:
        self.switch = Switch()
        self.model: Any = with_fixed_weights(lambda: Net(self.switch)) if model is None else model
        defaults: dict[str, Any] = {
            "input_shape": (1, 8, 8),
            "play": False,
            "kernel": Algorithm1(),
            "steps_per_frame": 5,
        }
        self.w: Any = LDAM(self.model, **defaults | options)
        self.said: list[tuple[dict[str, Any], list[bytes]]] = []
        self.wire_broken: Exception | None = None
        self.answers = answers
        self._arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._page = threading.Thread(target=self._answer, name="page", daemon=True)
        self._page.start()
        self.w.send = self._send
        self._good = (self.w.sampler.steps, self.w.sampler.average_images.clone())
        self.w.loop.observers.append(self._remember)
        self.touched()

    @staticmethod
    def widget(model: nn.Module, **options: Any) -> Any:
        """`LDAM` of small pictures."""
        defaults: dict[str, Any] = {"input_shape": (1, 8, 8), "play": False, "kernel": Algorithm1()}
        return LDAM(model, **defaults | {"steps_per_frame": 5} | options)

    # ---- the page ----------------------------------------------------------------------------------------------------

    def _send(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if self.wire_broken is not None:
            raise self.wire_broken
        self.said.append((content, buffers or []))
        if content["kind"] == "frame":
            self._arrived.put(content["seq"])

    def _answer(self) -> None:
        while (seq := self._arrived.get()) is not None:
            for answer in self.answers(seq):
                self.receive(kind="ack", seq=answer, visible=True, view="page")

    def receive(self, **content: Any) -> None:
        self.deliver(content)

    def deliver(self, content: Any) -> None:
        """As the comm delivers it."""
        self.w._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [content for content, _ in tuple(self.said) if content["kind"] == kind]

    def settle(self) -> None:
        """Wait until the loop has run all commands."""
        self.w.loop.call(lambda: None)

    # ---- the run -----------------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        sampler = self.w.sampler
        self._good = (sampler.steps, sampler.average_images.clone())

    def touched(self) -> None:
        """The user has changed the model: from now on it must stay like this."""
        self._model_was = None if self.model is None else look(self.model)

    def play(self, steps: int = 20) -> None:
        """Play until so many steps more are done and shown."""
        goal, said = self.w.sampler.steps + steps, len(self.of("frame"))
        self.w.play()
        wait_until(lambda: self.w.error or any(frame["steps"] >= goal for frame in self.of("frame")[said:]))
        assert self.w.error is None
        assert self.w.playing

    def stops(self, message: str) -> None:
        """The run stops by itself, says why in Python and on the page, and is back at its last good picture."""
        wait_until(lambda: self.w.error and not self.w.loop.playing)
        self.settle()
        assert re.search(message, self.w.error), self.w.error
        assert len(self.w.error) <= 2000
        assert not self.w.playing
        if self.wire_broken is None:
            told = self.of("error")[-1]["error"]
            assert told["message"] == self.w.error
            assert "averages are kept" in told["hint"]
            assert not self.of("state")[-1]["playing"]
        self.kept()

    def kept(self) -> None:
        """Averages are those of the last good picture, and chains are there, or one good step further."""
        steps, average = self._good
        assert steps <= self.w.sampler.steps < steps + self.w.steps_per_frame
        assert torch.equal(self.w.sampler.average_images, average)
        assert bool(average.isfinite().all())

    def goes_on(self) -> None:
        """It resumes where it stopped: the next picture joins those that were averaged before, and it plays."""
        steps, average = self._good
        self.w.step(steps + self.w.steps_per_frame - self.w.sampler.steps)
        assert self.w.sampler.steps == steps + self.w.steps_per_frame
        pictures = self.w.sampler.steps // self.w.steps_per_frame
        weight = (1 - 0.99) / (1 - 0.99**pictures)  # of the newest of so many in an exponential average
        expected = average.lerp(self.w.sampler.images, weight)
        torch.testing.assert_close(self.w.sampler.average_images, expected, atol=1e-5, rtol=1e-4)
        told = len(self.of("error"))
        self.play()
        assert [error["error"] for error in self.of("error")[told:]] == [None]

    def end(self) -> None:
        """Close; see that everything is gone and the model as it was."""
        self.w.close()
        said = len(self.said)
        self._arrived.put(None)
        wait_until(lambda: not self._page.is_alive() and not self.w.loop.alive)
        time.sleep(0.01)
        assert len(self.said) == said, "said after it was closed"
        if self.model is not None:
            assert look(self.model) == self._model_was
