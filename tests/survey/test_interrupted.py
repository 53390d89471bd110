"""Surveys that are killed, interrupted, shared out: the result is the same to the last bit."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import ldam_widget as ldam

from .networks import coarse_images, contents, functional

IMAGES, BATCH = 1500, 64


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return functional()


class Slow(Dataset[Any]):
    """Images with labels. One of them can do something when it is read."""

    def __init__(self, pause: float = 0.0) -> None:
        self.images, self.pause, self.at, self.do = coarse_images(IMAGES) * 1.7, pause, -1, lambda: None

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        if self.pause:
            time.sleep(self.pause)
        if i == self.at:
            self.do()
        return self.images[i], i % 3


def run(network: nn.Module, images: Any, out: Path, **options: Any) -> ldam.Survey:
    return ldam.survey(network, images, out=out, batch=BATCH, progress=False, **options)


@pytest.fixture(scope="module")
def whole(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "survey"
    run(network, Slow(), out)
    return contents(out)


def test_the_folder(whole: dict[str, bytes]) -> None:
    *layers, index = sorted(whole, reverse=True, key=len)
    assert index == "survey.json"
    assert len({Path(layer).parent for layer in layers}) == 1
    names = sorted(Path(layer).name for layer in layers)
    assert names == ["000-conv1.safetensors", "001-conv2.safetensors", "002-fc.safetensors"]


def test_killed_three_times(network: nn.Module, whole: dict[str, bytes], tmp_path: Path) -> None:
    out, chance = tmp_path / "survey", random.Random(1)
    survived = []
    for _ in range(3):
        child = os.fork()
        if not child:  # as if started from a shell
            try:
                torch.set_num_threads(1)
                run(network, Slow(pause=0.0005), out, save_every=0)
            finally:
                os._exit(0)
        before = _state(out)
        deadline = time.monotonic() + 60
        while _state(out) == before and time.monotonic() < deadline:  # until it has saved something
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))  # anywhere, also within saving
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        survived.append(ldam.Survey.load(out).card["looked_at"] + ldam.Survey.load(out).images)
    assert survived == sorted(survived)
    assert survived[0] > 0
    run(network, Slow(), out)
    assert contents(out) == whole


def _state(out: Path) -> bytes:
    index = out / "survey.json"
    return index.read_bytes() if index.exists() else b""


@pytest.mark.parametrize("at", [100, 1010, 1400])
def test_interrupted(at: int, network: nn.Module, whole: dict[str, bytes], tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    out, images = tmp_path / "survey", Slow()
    ldam.survey(network, images, progress=False)  # looks for labels and shapes first: only then does it happen
    images.at, images.do = at, interrupt
    with pytest.raises(KeyboardInterrupt):
        run(network, images, out)
    stopped = ldam.Survey.load(out)
    assert stopped.images == at // BATCH * BATCH
    assert not stopped.complete
    assert "conv1" in repr(stopped)
    if at < 1024:
        with pytest.raises(ValueError, match="stopped within the first 1,024 images"):
            stopped.histogram("conv1", 0)
    images.at = -1
    again = run(network, images, out)
    assert again.complete
    assert contents(out) == whole


def test_four_parts_in_any_order(network: nn.Module, whole: dict[str, bytes], tmp_path: Path) -> None:
    folders = [tmp_path / f"part{i}" for i in range(4)]
    parts = [run(network, Slow(), folder, part=(i, 4)) for i, folder in enumerate(folders)]
    assert sum(part.images for part in parts) == IMAGES
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        merged = ldam.Survey.merge([folders[i] if i % 2 else parts[i] for i in order], tmp_path / "merged")
        assert merged.complete
        assert contents(tmp_path / "merged") == whole
        (tmp_path / "merged").rename(tmp_path / f"merged{order}")
    halves = [ldam.Survey.merge([parts[3], parts[0]]), ldam.Survey.merge(parts[1:3])]
    halves[0].save(tmp_path / "halves")
    with pytest.raises(ValueError, match="holds images 0 to 383, which this survey lacks"):
        halves[1].save(tmp_path / "halves")
    assert ldam.Survey.load(tmp_path / "halves").card["done"] == halves[0].card["done"]
    ldam.Survey.merge(halves, tmp_path / "halves")
    assert contents(tmp_path / "halves") == whole
    with pytest.raises(ValueError, match="are in two of the parts"):
        ldam.Survey.merge([parts[0], parts[1], parts[0]])
    with pytest.raises(ValueError, match=r"images 0 to \d+, which do not begin this part"):
        run(network, Slow(), folders[0], part=(1, 4))


@pytest.mark.parametrize("part", [(0, 8), (3, 4)])
def test_a_part_is_not_taken_for_the_whole(part: tuple[int, int], network: nn.Module, tmp_path: Path) -> None:
    """The first 1,024 images are seen in every part, but not all of them are counted."""
    run(network, Slow(), tmp_path, part=part)
    with pytest.raises(ValueError, match=r"holds a smaller part of the images|do not begin this part"):
        run(network, Slow(), tmp_path, part=(0, 1))
    halted = ldam.Survey.load(tmp_path)
    assert halted.histogram("conv1", 0).finite == halted.images


def test_a_stopped_part_is_not_taken_for_the_whole(network: nn.Module, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    images = Slow()
    ldam.survey(network, images, progress=False)
    images.at, images.do = 300, interrupt
    with pytest.raises(KeyboardInterrupt):
        run(network, images, tmp_path, part=(3, 4))
    images.at = -1
    with pytest.raises(ValueError, match="holds a smaller part of the images"):
        run(network, images, tmp_path)
    assert run(network, images, tmp_path, part=(3, 4)).card["done"] == [[1152, IMAGES]]


def test_a_finished_survey_is_not_run_again(network: nn.Module, whole: dict[str, bytes], tmp_path: Path) -> None:
    run(network, Slow(), tmp_path / "survey")
    (tmp_path / "survey" / ".state-7.part").mkdir()  # what a killed run leaves
    read: list[int] = []

    class Noted(Slow):
        def __getitem__(self, i: int) -> tuple[Tensor, int]:
            read.append(i)
            return super().__getitem__(i)

    run(network, Noted(), tmp_path / "survey")
    assert len(set(read)) < 200  # the fingerprint alone
    assert contents(tmp_path / "survey") == whole


def test_something_else_in_the_folder(network: nn.Module, tmp_path: Path) -> None:
    x = coarse_images(300)
    out = tmp_path / "survey"
    run(network, x, out)
    other = functional()
    with torch.no_grad():
        other.fc.bias[0] += 1
    changed = x.clone()
    changed[0] += 0.5
    for arguments, options, match in [
        ((other, x), {}, "another model or other weights"),
        ((network, changed), {}, "other images or labels"),
        ((network, x), {"labels": np.zeros(300, int)}, "other images or labels"),
        ((network, x), {"k": 5}, r"another k \(9 and 5\)"),
        ((network, x), {"layers": ["conv1"]}, "other layers"),
        ((network, x), {"correlation": False}, "another choice of correlation="),
        ((network, x), {"preprocess": lambda x: 2 * x}, "a model that answers differently"),
    ]:
        with pytest.raises(ValueError, match=f"holds a survey of {match}"):
            run(*arguments, out, **options)
    with pytest.raises(ValueError, match=r"another batch size \(64 and 32\)"):
        ldam.survey(network, x, out=out, batch=32, progress=False)
    assert ldam.survey(network, x, out=out, progress=False).complete  # the batch size is that of the folder
    with pytest.raises(ValueError, match="holds a survey of another k"):
        ldam.survey(network, x, k=5, progress=False).save(out)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ValueError, match="holds other files and no survey"):
        run(network, x, tmp_path / "thesis")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        run(network, x, tmp_path / "file")


def test_loading(network: nn.Module, tmp_path: Path) -> None:
    x, out = coarse_images(300), tmp_path / "survey"
    made = run(network, x, out)
    alone = ldam.Survey.load(out)
    assert alone.top("conv2", 3) == made.top("conv2", 3)
    assert torch.equal(alone.correlation("fc"), made.correlation("fc"))
    with pytest.raises(ValueError, match="loaded alone"):
        alone.crops("conv1", 0)
    again = ldam.Survey.load(out, network, x)
    assert torch.equal(again.crops("conv1", 0).images, made.crops("conv1", 0).images)
    with pytest.raises(ValueError, match="is of other images"):
        ldam.Survey.load(out, network, x[:200])
    with pytest.raises(ValueError, match="both the model and the images"):
        ldam.Survey.load(out, network)
    with pytest.raises(FileNotFoundError, match="there is no survey in"):
        ldam.Survey.load(tmp_path / "nowhere")
    next(out.rglob("*conv2.safetensors")).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"conv2\.safetensors is missing or damaged"):
        ldam.Survey.load(out)
    (out / "survey.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        ldam.Survey.load(out)
    (out / "survey.json").write_text("{}")
    with pytest.raises(ValueError, match="does not describe a survey"):
        ldam.Survey.load(out)


def test_a_folder_of_photos_with_a_broken_one(network: nn.Module, tmp_path: Path) -> None:
    from PIL import Image

    for i, x in enumerate(coarse_images(12)):
        Image.fromarray((x[0] * 255).round().byte().numpy()).save(tmp_path / f"{i:02}.png")
    (tmp_path / "05.png").write_text("no picture")
    with pytest.warns(ldam.LDAMWarning, match="05.png is skipped: not a picture that Pillow can read"):
        survey = ldam.survey(network, tmp_path, input_shape=(1, 8, 8), out=tmp_path / "out", progress=False)
    assert survey.skipped == {5: "not a picture that Pillow can read"}
    assert survey.complete
    assert survey.histogram("fc", 0).finite == 11
    assert 5 not in {entry.image for unit in range(5) for entry in survey.top("fc", unit)}
    assert ldam.Survey.load(tmp_path / "out").skipped == survey.skipped
