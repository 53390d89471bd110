"""`Watch` without a kernel: a model trains here, and its picture must neither disturb it nor lag behind."""

from __future__ import annotations

import copy
import gc
import logging
import random
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import LDAM, LDAMWarning, Watch
from ldam_widget.kernels import Algorithm1
from ldam_widget.live.loop import Loop
from ldam_widget.network.view import weights_of
from ldam_widget.widget.parts import watch_bar

from ..conftest import with_fixed_weights
from ..test_untouched import Touchy, look, look_around
from .conftest import loop_threads, wait_until
from .page import Message, SettlingPage


def network() -> nn.Module:
    """With all that draws random numbers, or keeps statistics, while it trains."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(108, 4)
    )


class Page(SettlingPage):
    """The page of a `Watch`; it acknowledges every frame, as a page on screen or off."""

    def __init__(self, model: nn.Module | None = None, **options: Any) -> None:
        self.model = with_fixed_weights(network).train() if model is None else model
        self.visible = True
        settings: dict[str, Any] = {"input_shape": (1, 8, 8), "play": False, "kernel": Algorithm1(), "every": 10}
        super().__init__(Watch(self.model, **settings | options))

    def record(self, content: Message, buffers: list[bytes] | None = None) -> None:
        super().record(content, buffers)
        if content["kind"] == "frame":
            self.widget.loop.acknowledge(content["seq"], self.visible)

    @property
    def told(self) -> dict[str, Any]:
        """What the page was last told of the training."""
        return [content["watch"] for content, _ in tuple(self.sent) if "watch" in content][-1]

    @property
    def errors(self) -> list[str]:
        return [content["error"]["message"] for content in self.of("error") if content["error"]]


@pytest.fixture
def open_page(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(*model: nn.Module, **options: Any) -> Page:
        pages.append(Page(*model, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.widget.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def wear(model: nn.Module) -> None:
    """One change of all weights and statistics, as training would make."""
    for own in weights_of(model):
        if own.is_floating_point():
            own.data.mul_(0.9).add_(0.01)


def true_activation(model: nn.Module, w: LDAM) -> Tensor:
    """Of the units on show at the samples on show, by `model` itself."""
    images = w.sampler.images
    with torch.no_grad():
        out = copy.deepcopy(model).eval()(images.flatten(0, 1)).view(*images.shape[:2], -1)
    return torch.stack([out[n, :, int(neuron)] for n, neuron in enumerate(w.neurons)])


def shows(w: LDAM, model: nn.Module) -> bool:
    return torch.allclose(w.sampler.activation, true_activation(model, w), rtol=1e-4, atol=1e-5)


# ---- training is left alone ----------------------------------------------------------------------------------------


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.01)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, each: Callable[[int], object]) -> list[str]:
    """40 iterations on what three random number generators draw; the losses to the last bit."""
    losses = []
    for iteration in range(1, 41):
        x = torch.randn(8, 1, 8, 8) * random.random() + float(np.random.rand())  # noqa: NPY002  (the user may)
        loss = nn.functional.cross_entropy(model(x), torch.randint(4, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item().hex())
        each(iteration)
    return losses


def outcome(choose: Callable[[nn.Module], torch.optim.Optimizer], watched: Callable[..., Any] | None) -> dict[str, Any]:
    """All that there is to see of a training from fixed seeds."""
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    model = network().train()
    optimizer = choose(model)
    losses = train(model, optimizer, lambda _: None) if watched is None else watched(model, optimizer)
    bits = {name: t.numpy().tobytes() for name, t in model.state_dict().items()}
    grads = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
    memory = [s for state in optimizer.state_dict()["state"].values() for s in state.values()]
    numbers = [s.numpy().tobytes() if isinstance(s, Tensor) else s for s in memory]
    return {"losses": losses, "bits": bits, "grads": grads, "memory": numbers, **look_around()}


@pytest.mark.parametrize(
    ("choose", "by_hook", "decay"), [(sgd, False, None), (sgd, True, 0.9), (adam, False, 0.9), (adam, True, None)]
)
def test_training_is_the_same_to_the_last_bit(
    open_page: Callable[..., Page], choose: Callable[..., Any], by_hook: bool, decay: float | None
) -> None:
    def watched(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
        page = open_page(
            model, every=5, keep=4, half=True, decay=decay, play=True, optimizer=optimizer if by_hook else None
        )
        w = page.widget
        w._repr_mimebundle_()

        def each(iteration: int) -> None:
            if not by_hook:
                w.update()
            if iteration in {20, 30}:  # pictures of several sets of weights are made while it trains
                count = len(page.of("frame"))
                wait_until(lambda: len(page.of("frame")) > count + 2 and w.shown == iteration)
                w.source = w._checkpoints.sources[-1]
                w.scrub(0)
                w.follow()

        with w:
            losses = train(model, optimizer, each)
        assert w.iteration == 40
        assert len(w.kept) == 4
        wait_until(lambda: w.shown == 40)
        assert not page.errors
        return losses

    torch.get_num_threads()
    assert outcome(choose, watched) == outcome(choose, None)


def test_the_comparison_sees_a_random_number_drawn(open_page: Callable[..., Page]) -> None:
    """The control."""

    def watched(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
        return train(model, optimizer, lambda i: torch.rand(1) if i == 39 else None)

    other, plain = outcome(sgd, watched), outcome(sgd, None)
    assert other["losses"] != plain["losses"]
    assert other["torch RNG"] != plain["torch RNG"]


def test_the_model_is_left_alone(open_page: Callable[..., Page]) -> None:
    """Mode, flags, hooks, gradients, attributes: all that `look` sees, with modes that differ between submodules."""
    model = with_fixed_weights(Touchy)
    model.train()
    model.conv.eval()
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    before = look(model)
    page = open_page(model, decay=0.9, play=True)
    with page.widget as w:
        w._repr_mimebundle_()
        for _ in range(30):
            w.update()
        wait_until(lambda: page.of("frame"))
        w.scrub(10)
        assert look(model) == before
    w.close()
    assert look(model) == before
    assert all(p.grad is grads[name] for name, p in model.named_parameters())


def test_training_mode_is_no_reason_for_a_warning(open_page: Callable[..., Page], recwarn: Any) -> None:
    page = open_page(decay=0.9)
    assert any("training mode" in note for note in page.widget.sampler.notes)
    assert not [w for w in recwarn if issubclass(w.category, LDAMWarning)]


def block(w: Watch, do: Callable[[], object]) -> None:
    """A block that ends with an error of the user's, which must come out."""

    def run() -> None:
        with w:
            do()
            raise KeyError("of the user's")

    with pytest.raises(KeyError, match="of the user's"):
        run()


@pytest.mark.parametrize("end", ["leaving", "an error", "closing"])
def test_the_optimiser_is_as_it_was_after(open_page: Callable[..., Page], end: str) -> None:
    model = with_fixed_weights(network).train()
    optimizer = sgd(model)
    hooks = optimizer._optimizer_step_post_hooks
    page = open_page(model, optimizer=optimizer)
    w = page.widget
    if end == "closing":
        w.__enter__()
        assert len(hooks) == 1
        w.close()
    elif end == "an error":
        block(w, optimizer.step)
    else:
        with w as entered, w:
            assert entered is w
            optimizer.step()
            assert len(hooks) == 1
    assert not hooks
    optimizer.step()
    if end != "closing":
        assert (w.iteration, w.kept) == (1, [0, 1]), "the last weights are kept"


# ---- nothing stops the training ------------------------------------------------------------------------------------


def lose(model: nn.Module) -> None:
    model[5] = nn.Linear(108, 4, bias=False)


def reshape(model: nn.Module) -> None:
    model[5] = nn.Linear(108, 7)


@pytest.mark.parametrize("change", [lose, reshape])
@pytest.mark.parametrize("decay", [None, 0.5])
@pytest.mark.parametrize("strict", [False, True])
def test_a_model_that_changes_its_shape(
    open_page: Callable[..., Page], change: Callable[..., None], decay: float | None, strict: bool
) -> None:
    page = open_page(decay=decay)
    w = page.widget

    def go_on() -> None:
        change(page.model)
        for _ in range(25):
            w.update()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error" if strict else "always")
        block(w, go_on)
    (error,) = page.errors
    # with a running average torch is the first to notice
    assert ("call watch again" if decay is None else "The size of tensor a") in error
    if not strict:
        (told,) = (str(c.message) for c in caught if issubclass(c.category, LDAMWarning))
        assert "training continues" in told
        assert caught[0].filename == __file__
    assert w.iteration <= 10, "it has stopped counting"
    w.scrub(0)
    assert w.shown == 0
    w.step(2)


def test_only_the_end_of_the_block_sees_the_change(open_page: Callable[..., Page]) -> None:
    page = open_page()
    with pytest.warns(LDAMWarning, match="call watch again"), page.widget:
        reshape(page.model)
    assert "call watch again" in page.errors[0]


def test_a_page_that_cannot_be_reached(open_page: Callable[..., Page]) -> None:
    page = open_page()
    reshape(page.model)
    page.widget.send = lambda *_: 1 / 0
    for _ in range(15):
        page.widget.update()


def test_diverged_weights(open_page: Callable[..., Page]) -> None:
    page = open_page(play=True)
    w = page.widget
    w._repr_mimebundle_()
    good = copy.deepcopy(page.model)
    page.model[5].weight.data[0, 0] = float("nan")
    for _ in range(15):
        w.update()
    wait_until(lambda: page.errors)
    assert "iteration 10 hold NaN" in page.errors[0]
    assert not w.playing
    for _ in range(15):
        w.update()
    w.scrub(0)
    assert shows(w, good)
    page.receive(kind="scrub", index=1)
    assert len(page.errors) == 2
    assert w.shown == 10
    w.scrub(0)
    w.play()
    count = len(page.of("frame"))
    wait_until(lambda: len(page.of("frame")) > count + 2)
    assert w.error is None


def test_after_closing(open_page: Callable[..., Page]) -> None:
    page = open_page(decay=0.9)
    w = page.widget
    w.close()
    said = len(page.sent)
    w.update()
    w()
    with w:
        w.update()
    w.close()
    page.receive(kind="scrub", index=0)
    assert len(page.sent) == said
    assert repr(w) == "Watch(closed)"
    for use in (lambda: w.scrub(0), w.follow, lambda: setattr(w, "source", "average"), lambda: w.shown):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_all_is_freed_on_closing(open_page: Callable[..., Page]) -> None:
    page = open_page(decay=0.9, play=True, optimizer=None)
    w = page.widget
    w._repr_mimebundle_()
    with w:
        for _ in range(35):
            wear(page.model)
            w.update()
    wait_until(lambda: page.of("frame") and w.shown == 35)
    tensors = [t for kept in w._checkpoints.history.kept for t in [*kept.weights, *(kept.average or [])]]
    parts: list[Any] = [page.model, w.sampler, w.sampler.view, w._checkpoints.averaged, *tensors]
    left = [weakref.ref(part) for part in parts]
    del parts, tensors
    w.close()
    page.model = nn.Identity()
    gc.collect()
    assert not [ref() for ref in left if ref() is not None]
    assert w.kept == []


# ---- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"every": 0}, r"every must be an integer ≥ 1; got 0"),
        ({"every": 1.5}, r"every must be an integer ≥ 1; got 1\.5"),
        ({"keep": 1}, r"keep must be at least 2.*got 1"),
        ({"keep": "all"}, r"keep must be an integer.*got 'all'"),
        ({"decay": 1}, r"decay must be a number above 0 and below 1, or None; got 1"),
        ({"decay": "0.9"}, r"decay must be a number above 0 and below 1, or None; got '0\.9'"),
        ({"decay": float("nan")}, r"decay must be .*got nan"),
        ({"source": "average"}, r"source must be one of 'weights'; got 'average'; watch\(…, decay=0\.98\) keeps"),
        ({"source": "mean", "decay": 0.9}, r"source must be one of 'weights', 'average'; got 'mean'$"),
        ({"optimizer": 3}, r"optimizer must be a torch\.optim\.Optimizer or wrap one; got 3"),
        ({"optimizer": torch.optim.SGD}, r"optimizer must be a torch\.optim\.Optimizer or wrap one; got <class"),
    ],
)
def test_refused_arguments(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        ldam.watch(with_fixed_weights(network), input_shape=(1, 8, 8), **wrong)
    gc.collect()  # nothing is left that cannot even be deleted (that would fail the test)


def test_lazy_models_are_refused_before_they_are_built() -> None:
    with pytest.raises(ValueError, match="pass a batch through the lazy model first"):
        ldam.watch(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), input_shape=(1, 8, 8))


def test_watch_outside_of_a_notebook() -> None:
    w = ldam.watch(with_fixed_weights(network), input_shape=(1, 8, 8), every=2, neurons=[1])
    assert isinstance(w, Watch)
    assert (w.playing, w.neurons, w.kept, w.iteration, w.following, w.source) == (True, [1], [0], 0, True, "weights")
    assert not loop_threads()
    w.close()


# ---- the picture follows -------------------------------------------------------------------------------------------


def test_the_picture_is_of_the_newest_checkpoint(open_page: Callable[..., Page]) -> None:
    page = open_page(every=3)
    w = page.widget
    at = {0: copy.deepcopy(page.model)}
    for iteration in range(1, 8):
        wear(page.model)
        w.update()
        at[iteration] = copy.deepcopy(page.model)
        w.step(2)
        assert w.shown == iteration - iteration % 3
        assert shows(w, at[w.shown])
        assert not shows(w, at[w.shown - 1] if w.shown else at[1])
    assert (w.iteration, w.kept) == (7, [0, 3, 6])
    assert page.of("frame")[-1]["watch"]["shown"] == 6


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrapped_models(open_page: Callable[..., Page], wrap: Callable[..., nn.Module]) -> None:
    """`torch.compile` compiles at the first call, of which there is none."""
    inside = with_fixed_weights(network).train()
    page = open_page(wrap(inside), decay=0.9)
    for _ in range(10):
        wear(inside)
        page.widget.update()
    page.widget.step(2)
    assert shows(page.widget, inside)
    assert page.widget.layer == "5"
    assert not page.errors


def test_tied_weights(open_page: Callable[..., Page]) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)))
    model[3].weight = model[1].weight
    page = open_page(model, every=1, decay=0.9)
    wear(model)
    page.widget.update()
    page.widget.step(2)
    assert shows(page.widget, model)
    assert len(page.widget._checkpoints.history.kept[-1].weights) == 3


class Uniform(nn.Module):
    """All weights are one number at every moment, but for the time of an optimiser's step."""

    def __init__(self) -> None:
        super().__init__()
        for k in range(30):
            self.register_parameter(f"part{k}", nn.Parameter(torch.ones(64)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(x.flatten(1) * part).sum(1) for part in self.parameters()], 1)


@pytest.mark.parametrize("watched", [True, False])
def test_a_picture_is_of_the_weights_of_one_moment(open_page: Callable[..., Page], watched: bool) -> None:
    """While an optimiser's step lasts long. An `LDAM`, which shares the weights, is the control."""
    model = nn.Sequential(Uniform())
    page = open_page(model, every=1, play=True)
    w: LDAM = page.widget
    w._repr_mimebundle_()
    sampler = w.sampler if watched else LDAM(model, input_shape=(1, 8, 8), kernel=Algorithm1(), play=False).sampler
    seen: list[set[float]] = []

    def observe() -> None:
        if not watched:
            sampler.step(1)
        seen.append({float(part[0]) for part in sampler.view.parameters()})

    w.loop.observers.append(observe)
    moment = 0
    while len(seen) < 40 or (not watched and all(len(values) == 1 for values in seen)):
        moment += 1
        for part in model.parameters():
            part.data.fill_(moment)
            time.sleep(0.001)
        page.widget.update()
    assert all(len(values) == 1 for values in seen) == watched
    if watched:
        assert len(set.union(*seen)) > 2


def test_shown_is_what_the_picture_was_made_of(open_page: Callable[..., Page]) -> None:
    """A checkpoint that waits for the next step is not on show yet."""
    page = open_page(every=1)
    w = page.widget
    w.step(2)
    wear(page.model)
    w.update()
    assert w.kept == [0, 1]
    assert w.shown == 0
    w.step(1)
    assert w.shown == 1


# ---- going back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_scrub_and_follow(open_page: Callable[..., Page], half: bool) -> None:
    page = open_page(every=2, keep=6, half=half)
    w = page.widget
    at = {0: copy.deepcopy(page.model)}
    for iteration in range(1, 301):
        wear(page.model)
        page.model[5].weight.data[0] = iteration / 100  # not too near to one another
        w.update()
        at[iteration] = copy.deepcopy(page.model)
        assert len(w.kept) <= 6
        assert (w.kept[0], w.kept[-1]) == (0, iteration - iteration % 2)
    if half:
        for iteration in w.kept[:-1]:
            at[iteration].half().float()
    for index, iteration in enumerate(w.kept):
        page.receive(kind="scrub", index=index, view="a")
        assert (w.shown, w.following) == (iteration, False)
        assert page.told | {"shown": iteration, "following": False, "kept": w.kept, "iteration": 300} == page.told
        assert shows(w, at[iteration])
        assert torch.equal(w.sampler.average_images, w.sampler.images), "the average starts over"
        w.step(2)
        assert shows(w, at[iteration])
    w.scrub(w.kept[2] + 1)
    assert w.shown == w.kept[2]
    wear(page.model)
    w.update()
    wear(page.model)
    w.update()
    w.step(2)
    assert w.kept[-1] == 302
    assert w.shown != 302, "it stays there"
    page.receive(kind="do", what="follow")
    assert (w.shown, w.following, page.told["following"]) == (302, True, True)
    assert shows(w, page.model)
    assert not page.errors


def test_scrubbing_while_a_checkpoint_is_kept(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    """On two threads at once: the position that was scrubbed to stays."""
    page = open_page(every=1)
    w = page.widget
    w.update()
    original, scrub = w.sampler.follow, threading.Thread(target=lambda: w.scrub(0))

    def slow(iteration: int, *more: Any) -> None:
        if iteration == 2:
            scrub.start()
            scrub.join(0.3)
        original(iteration, *more)

    monkeypatch.setattr(w.sampler, "follow", slow)
    w.update()
    scrub.join()
    w.step(2)
    assert (w.shown, w.following) == (0, False)


@pytest.mark.parametrize("index", ["3", None, float("nan"), float("inf"), True, [1], 2**60])
def test_malformed_scrubs(open_page: Callable[..., Page], index: Any) -> None:
    page = open_page(every=1)
    for _ in range(4):
        page.widget.update()
    page.receive(kind="scrub", index=index)
    page.receive(kind="scrub")
    assert page.widget.following
    assert not page.errors


def test_scrubs_beyond_the_ends(open_page: Callable[..., Page]) -> None:
    page = open_page(every=1)
    for _ in range(4):
        page.widget.update()
    page.receive(kind="scrub", index=-7)
    assert page.widget.shown == 0
    page.receive(kind="scrub", index=99)
    assert (page.widget.shown, page.widget.following) == (4, False)


@pytest.mark.parametrize("what", [3, None, "averages", "average", "", ["weights"]])
def test_malformed_sources(open_page: Callable[..., Page], what: Any) -> None:
    """There is no average here."""
    page = open_page()
    page.receive(kind="show", what=what)
    page.receive(kind="lock", name="l2", locked=True)  # of another widget's page
    assert page.widget.source == "weights"
    assert page.errors == ([] if not isinstance(what, str) else page.errors)
    assert all(f"got {what!r}" in error for error in page.errors)
    assert len(page.errors) == isinstance(what, str)
    page.widget.step(2)


def test_a_paused_page_is_told_of_checkpoints(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a message, as no picture comes; and not too often, as that is done within the training loop."""
    page = open_page(every=1)
    w = page.widget
    for _ in range(20):
        w.update()
    assert not page.of("state"), "no view is left"
    page.receive(kind="hello", view="a")
    now = [1e9]
    monkeypatch.setattr(watch_bar, "time", SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: now[0]))
    for _ in range(20):
        w.update()
        now[0] += 0.09
    assert page.told["kept"][-1] >= 37
    assert len(page.of("state")) == 7
    assert page.told["shown"] == 0, "the picture stands still"


# ---- the running average -------------------------------------------------------------------------------------------


def test_the_average_is_that_of_the_weights_and_statistics(open_page: Callable[..., Page]) -> None:
    """By hand in double precision: every second iteration, parameters and running statistics alike."""
    model = with_fixed_weights(network).double().train()
    optimizer = sgd(model)
    page = open_page(model, every=20, decay=0.8, source="average", preprocess=lambda x: x.double())
    w = page.widget
    generator = torch.Generator().manual_seed(1)
    average: list[Tensor] = []
    for iteration in range(1, 61):
        loss = model(torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        w.update()
        if iteration % 2 == 0:
            now = [t.detach().clone() for t in weights_of(model)]
            average = [0.8 * a + 0.2 * b for a, b in zip(average, now, strict=True)] if average else now
        if iteration in {20, 60}:
            w.step(2)
            assert w.shown == iteration
            for own, hand, last in zip(weights_of(w.sampler.view), average, weights_of(model), strict=True):
                if own.is_floating_point():
                    torch.testing.assert_close(own, hand, rtol=1e-12, atol=1e-14)
                    assert not torch.equal(own, last)
    statistics = w.sampler.view[1].running_var
    assert not torch.allclose(statistics, model[1].running_var, rtol=1e-3)


def test_another_source(open_page: Callable[..., Page]) -> None:
    page = open_page(every=10, decay=0.9)
    w = page.widget
    for _ in range(20):
        wear(page.model)
        w.update()
    w.step(2)
    assert shows(w, page.model)
    page.receive(kind="show", what="average")
    assert (page.told["source"], page.told["sources"]) == ("average", ["weights", "average"])
    assert (w.source, w.shown, w.following) == ("average", 20, True)
    averaged = copy.deepcopy(page.model)
    averaged.load_state_dict(w._checkpoints.averaged.module.state_dict())
    assert shows(w, averaged)
    assert not shows(w, page.model)
    w.scrub(10)
    w.source = "weights"
    assert (w.shown, w.following, w.source) == (10, False, "weights")
    w.step(2)
    assert not shows(w, page.model)
    with pytest.raises(ValueError, match="'weights', 'average'; got 'best'"):
        w.source = "best"
    assert w.source == "weights"


def test_the_source_of_a_checkpoint_that_is_no_longer_kept(open_page: Callable[..., Page]) -> None:
    page = open_page(every=1, keep=3, decay=0.9)
    w = page.widget
    for _ in range(5):
        w.update()
    w.scrub(w.kept[1])
    before = w.shown
    for _ in range(200):
        w.update()
    w.source = "average"
    assert not w.following
    assert w.shown == min(w.kept, key=lambda kept: abs(kept - before))


# ---- what it costs -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
def test_hidden_pictures_cost_nothing(open_page: Callable[..., Page]) -> None:
    page = open_page(every=5, play=True)
    page.visible = False
    w = page.widget
    page.receive(kind="hello", view="a")
    wait_until(lambda: page.of("frame"))
    page.receive(kind="ack", view="a", seq=1, visible=False)
    time.sleep(1.2)
    page.receive(kind="ack", view="a", seq=1, visible=False)
    wait_until(lambda: not loop_threads())
    frames, steps = len(page.of("frame")), w.sampler.steps
    for _ in range(300):
        w.update()
    assert (len(page.of("frame")), w.sampler.steps, loop_threads()) == (frames, steps, [])
    assert w.kept[-1] == 300
    assert w.playing
    page.visible = True
    w.loop.acknowledge(1, True)
    wait_until(lambda: w.shown == 300)


def test_never_shown_means_no_thread(open_page: Callable[..., Page]) -> None:
    page = open_page(every=2, play=True, decay=0.9)
    for _ in range(50):
        page.widget.update()
        assert not loop_threads()
    assert not page.sent
    assert page.widget.kept[-1] == 50


def test_cost_is_known_after_iterations_of_both_kinds(
    open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(every=1000)
    w = page.widget
    now, drawn = [0.0], [False]
    monkeypatch.setattr(watch_bar, "time", SimpleNamespace(perf_counter=lambda: now[0], monotonic=time.monotonic))
    monkeypatch.setattr(Loop, "alive", property(lambda _: drawn[0]))
    w.loop.playing = True

    def iterate(count: int) -> None:
        for _ in range(count):
            now[0] += 1.25 if drawn[0] and not w.loop.held else 1.0
            w.update()

    iterate(1)
    assert not w.loop.held, "nothing is drawn that could stand still"
    drawn[0] = True
    iterate(1)
    assert w.loop.held, "the picture stands still for some iterations"
    iterate(9)
    assert w.loop.held
    assert w.cost is None
    iterate(5)
    assert not w.loop.held
    assert w.cost is None
    iterate(20)
    assert w.cost == pytest.approx(0.25)
    w.pause()
    page.receive(kind="hello", view="a")
    assert page.told["cost"] == pytest.approx(0.25)


def test_one_update_does_not_stop_the_picture_for_good(
    open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training may end before its iterations are timed, or an iteration take minutes."""
    monkeypatch.setattr(watch_bar, "_CALIBRATION", 0.6)
    page = open_page(play=True)
    w = page.widget
    w._repr_mimebundle_()
    wait_until(lambda: page.of("frame"))
    w.update()
    w.loop.call(lambda: None)
    frames = len(page.of("frame"))
    assert w.loop.held
    time.sleep(0.1)
    if w.loop.held:
        assert len(page.of("frame")) <= frames + 1
    wait_until(lambda: len(page.of("frame")) > frames + 3)
    assert not w.loop.held


def test_a_training_goes_on_while_its_picture_is_closed() -> None:
    """Closing waits for the step in progress; meanwhile, checkpoints are kept as before."""

    def slow(x: Tensor) -> Tensor:
        inside.set()
        go.wait(10)
        return x

    inside, go = threading.Event(), threading.Event()
    go.set()
    page = Page(preprocess=slow, every=1)
    w = page.widget
    go.clear()
    inside.clear()
    w.play()
    assert inside.wait(10)
    closing = threading.Thread(target=w.close)
    closing.start()
    wait_until(lambda: w.loop.closed)
    time.sleep(0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            w.update()
    kept = w.iteration
    go.set()
    closing.join(10)
    assert kept == 20
    assert not page.errors
