"""Training a discriminator between the pictures, and what is sent to the panel about it; without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ldam_widget import LDAM, Discriminator, Recipe, TrainingError, build_discriminator

from ..conftest import with_fixed_weights
from .conftest import loop_threads, wait_until
from .page import SettlingPage

SHAPE = (1, 8, 8)
QUICK = Recipe(batch=12, steps=2, pool=2)


def classifier() -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 5)))


def squares(count: int = 40) -> Tensor:
    """Bright squares on black, in one of four places."""
    images = torch.zeros(count, *SHAPE)
    for i, image in enumerate(images):
        row, column = 4 * (i % 2), 4 * (i // 2 % 2)
        image[:, row : row + 4, column : column + 4] = 0.9
    return images


class Page(SettlingPage):
    """The page of an `LDAM` of a small classifier."""

    def __init__(self, **options: Any) -> None:
        given = {"input_shape": SHAPE, "pixel_range": (0, 1), "play": False} | options
        super().__init__(LDAM(classifier(), **given))

    def step(self) -> None:
        """One step, and its picture."""
        self.widget.step(1)
        self.settle()


@pytest.fixture
def pages() -> Iterator[list[Page]]:
    made: list[Page] = []
    yield made
    for page in made:
        page.widget.close()


def open_page(pages: list[Page], **options: Any) -> Page:
    pages.append(Page(**options))
    return pages[-1]


def test_the_panel_is_told_whether_there_is_anything_to_train(pages: list[Page]) -> None:
    plain = open_page(pages)
    plain.receive(kind="hello", view="a")
    assert plain.last("setup")["discriminator"] is None
    net = build_discriminator(classifier(), SHAPE)
    with_one = open_page(pages, regularizers=[Discriminator(net, 0.3)])
    with_one.receive(kind="hello", view="a")
    told = with_one.last("setup")["discriminator"]
    assert (told["trainable"], told["training"], told["only"]) == (False, False, False)
    assert "dataset=" in told["why"]
    with_data = open_page(pages, dataset=squares())
    with_data.receive(kind="hello", view="a")
    assert with_data.last("setup")["discriminator"]["trainable"]
    assert with_data.last("setup")["training_trace"] == {"rounds": [], "accuracy": [], "gap": []}
    assert with_data.widget.discriminator == 0  # a fresh one, which as yet pulls at nothing


def test_training_from_the_page_goes_on_beside_the_pictures_until_stopped(pages: list[Page]) -> None:
    page = open_page(
        pages, dataset=squares(), regularizers=[Discriminator(build_discriminator(classifier(), SHAPE), 0.5)]
    )
    w = page.widget
    page.receive(kind="hello", view="a")
    w.play()
    w.train_discriminator(recipe=QUICK)
    assert w.training
    assert w.trainer is not None
    trainer, before = w.trainer, w.sampler.steps
    page.receive(kind="ack", seq=1, visible=True, view="a")
    wait_until(lambda: trainer.round >= 4 and w.sampler.steps > before)
    assert w.sampler.discriminator is not None
    assert w.sampler.discriminator.net is trainer.net
    page.receive(kind="do", what="stop_train")
    assert not w.training
    rounds = trainer.round
    w.step(4)
    assert trainer.round == rounds
    assert w.error is None
    page.receive(kind="hello", view="b")
    trace = page.last("setup")["training_trace"]
    assert trace["rounds"] == list(range(1, rounds + 1))
    assert all(0 <= value <= 1 for value in trace["accuracy"])
    page.receive(kind="do", what="train")  # goes on with what it had, in the widget's own recipe
    wait_until(lambda: w.training)


def test_the_sampler_uses_the_newest_discriminator(pages: list[Page]) -> None:
    """Its score of the very same pictures changes, and is that of the trainer's network."""
    page = open_page(pages, dataset=squares())
    w = page.widget
    w.train_discriminator(recipe=QUICK)
    trainer = w.trainer
    assert trainer is not None
    wait_until(lambda: trainer.round >= 3)
    w.stop_training()
    score = w.sampler.discriminator_score
    assert score is not None
    with torch.no_grad():
        direct = torch.sigmoid(trainer.net(w.sampler.images.flatten(0, 1))[:, 0]).view_as(score)
    torch.testing.assert_close(score, direct)


def test_a_paused_widget_trains_and_a_closed_one_does_not(pages: list[Page]) -> None:
    page = open_page(pages, dataset=squares())
    w = page.widget
    w.train_discriminator(recipe=QUICK)
    trainer = w.trainer
    assert trainer is not None
    steps = w.sampler.steps
    wait_until(lambda: trainer.round >= 3)
    assert w.sampler.steps == steps
    w.close()
    rounds = trainer.round
    wait_until(lambda: not loop_threads())
    assert trainer.round <= rounds + 1  # the unit in progress


@pytest.mark.filterwarnings("ignore:the discriminator was trained on pixels in")
def test_a_discriminator_that_is_trained_on_is_read_as_before(pages: list[Page]) -> None:
    """It goes on seeing pixels in its own range, and preprocessed: as long as it learns next to nothing, its score of
    the same pictures stays what it was."""
    net = build_discriminator(classifier(), SHAPE)
    term = Discriminator(net, 0.5, form="logit", preprocess=lambda x: 2 - 3 * x, pixel_range=(-1, 1))
    page = open_page(pages, dataset=squares(), regularizers=[term])
    w = page.widget
    before, images = w.sampler.discriminator_score, w.sampler.images.flatten(0, 1)
    assert before is not None
    w.train_discriminator(recipe=replace(QUICK, learning_rate=1e-12))
    trainer = w.trainer
    assert trainer is not None
    wait_until(lambda: trainer.round >= 3)
    w.stop_training()
    w.train_discriminator(recipe=replace(QUICK, learning_rate=1e-11))  # another training of the same
    again = w.trainer
    assert again is not None
    assert again is not trainer
    wait_until(lambda: again.round >= 3)
    w.stop_training()
    after = w.sampler.discriminator_score
    assert after is not None
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(after.flatten(), torch.sigmoid(net.eval()(2 - 3 * (2 * images - 1))[:, 0]).detach())
    assert w.sampler.discriminator is not None
    assert w.sampler.discriminator.form == "logit"


def test_scores_and_gauges_come_with_frames(pages: list[Page]) -> None:
    page = open_page(pages, dataset=squares(), chains=2, neurons=[0, 1, 2])
    w = page.widget
    w.train_discriminator(recipe=QUICK)
    trainer = w.trainer
    assert trainer is not None
    wait_until(lambda: trainer.round >= 2)
    page.step()
    frame = page.last("frame")
    assert [len(row) for row in frame["score"]] == [2, 2, 2]
    assert all(0 <= value <= 1 for row in frame["score"] for value in row)
    assert frame["training"]["round"] >= 2
    assert set(frame["training"]) == {"round", "accuracy", "gap", "real", "generated"}
    w.stop_training()
    page.step()
    assert page.last("frame")["training"] is None


class Breaks(Dataset[Tensor]):
    """Real images that can no longer be read after a while."""

    def __init__(self) -> None:
        self.images, self.reads = squares(), 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        if self.reads > 300:
            raise OSError("the disk is gone")
        return self.images[index]


def test_a_fault_of_the_data_ends_the_training_and_not_the_pictures(pages: list[Page]) -> None:
    page = open_page(pages, dataset=Breaks())
    w = page.widget
    w.play()
    page.receive(kind="hello", view="a")
    w.train_discriminator(recipe=QUICK)
    wait_until(lambda: w.error is not None)
    assert "the disk is gone" in str(w.error)
    wait_until(lambda: page.last("error")["error"] is not None)  # it is reported a moment later
    assert page.last("error")["error"]["message"]
    assert not w.training
    assert w.playing
    w.step(2)


def test_a_collapsed_discriminator_is_not_called_trained(pages: list[Page]) -> None:
    """It learns nothing at all, and says the same of everything."""
    page = open_page(pages, dataset=squares())
    w = page.widget
    w.train_discriminator(recipe=Recipe(batch=12, steps=1, pool=1, learning_rate=1e-12, calibrated=0, alone=0))
    trainer = w.trainer
    assert trainer is not None
    for parameter in trainer._raw.parameters():
        parameter.data.zero_()
    trainer.rounds.clear()
    wait_until(lambda: len(trainer.rounds) >= 120)
    with pytest.raises(TrainingError, match="gives every image the same output"):
        w.stop_training()
    assert not w.training


def test_discriminator_only_from_the_page(pages: list[Page]) -> None:
    page = open_page(pages, regularizers=[Discriminator(build_discriminator(classifier(), SHAPE), 0.5)])
    page.receive(kind="do", what="discriminator_only")
    assert page.widget.discriminator_only
    assert page.last("state")["discriminator"]["only"]
    assert "neurons are left out" in page.last("state")["kernel_note"]
    page.widget.step(3)
    page.receive(kind="do", what="with_neurons")
    assert not page.widget.discriminator_only
    plain = open_page(pages)
    plain.receive(kind="do", what="discriminator_only")
    assert "Discriminator" in str(plain.widget.error)


def test_bad_data_are_reported_when_the_widget_is_created() -> None:
    with pytest.raises(ValueError, match=r"images of shape \(3, 3\)"):
        LDAM(classifier(), input_shape=SHAPE, pixel_range=(0, 1), dataset=torch.rand(20, 3, 3))
    with pytest.raises(ValueError, match="labels"):
        LDAM(classifier(), input_shape=SHAPE, pixel_range=(0, 1), dataset=torch.arange(20))


@pytest.mark.filterwarnings("ignore:40 of 40 real images")
def test_the_panel_shows_doubts_about_the_images(pages: list[Page]) -> None:
    page = open_page(pages, dataset=torch.linspace(0, 1, 40).view(40, 1, 1, 1).expand(40, *SHAPE))
    page.receive(kind="hello", view="a")
    page.widget.train_discriminator(recipe=QUICK)
    wait_until(lambda: any("40 of 40 real images have one value" in note for note in page.last("setup")["notes"]))


def test_there_must_be_real_images(pages: list[Page]) -> None:
    page = open_page(pages)
    with pytest.raises(ValueError, match="no real images to learn from"):
        page.widget.train_discriminator()
    page.widget.train_discriminator(squares(), QUICK)  # the slider appears with it
    assert page.widget.discriminator == 0
    with pytest.raises(RuntimeError, match="stop_training"):
        page.widget.train_discriminator(squares(), QUICK)
