"""What is in an atlas is what sampling the unit alone gives; interrupted, divided or damaged, it ends the same."""

from __future__ import annotations

import contextlib
import errno
import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.atlases import folder, rendering
from ldam_widget.atlases.recipe import checked
from ldam_widget.atlases.sampling import UnitSampler

from ..conftest import with_fixed_weights
from .networks import QUICK, SHAPE, ReLUs, another_each_time, small
from .test_store import bytes_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ldam.Atlas:
    """An undisturbed build."""
    return ldam.atlas(small(), out=tmp_path_factory.mktemp("whole") / "atlas", engine="serial", **QUICK)


def recipe(**changed: Any) -> Any:
    given = {key: value for key, value in QUICK.items() if key != "progress"} | changed
    defaults = {
        "seed": 0, "kernel": None, "prior": "auto", "goal": None, "batch": None, "threads": 1, "execution": "plain",
        "tile": 112,
    }  # fmt: skip
    return checked(**defaults | given)


@pytest.mark.slow
def test_every_unit_of_every_layer_is_there(whole: ldam.Atlas) -> None:
    assert {name: layer.units for name, layer in whole.layers.items()} == {"conv1": 6, "conv2": 70, "fc": 5}
    status = whole.status(verify=True)
    assert status.complete
    assert status.units == (81, 81)
    assert not status.failures
    assert not status.problems
    for name in whole.layers:
        numbers = whole.numbers(name)
        assert np.isfinite(numbers["activation"]).all()
        assert ((numbers["verdict"] >= 0) & (numbers["recognised"] >= 0)).all()


def test_a_unit_is_what_sampling_it_alone_gives(whole: ldam.Atlas) -> None:
    """Its random numbers depend on layer and unit alone; batches of another size round differently."""
    sampler = UnitSampler(small(), "conv2", [66], recipe(), "cpu")
    sampled = sampler.sampled(QUICK["steps"])
    assert torch.equal(sampled.images[0], sampler.images[0])
    with torch.no_grad():
        network = small()
        maps = network.conv2(network.conv1(sampled.images[0]).relu())[:, 66]
    numbers = whole.numbers("conv2")
    np.testing.assert_allclose(numbers["activation"][66], maps[:, 2, 2], rtol=1e-4)
    np.testing.assert_allclose(numbers["largest"][66], maps.amax((1, 2)), rtol=1e-4)
    scores = network(sampled.averages).softmax(1).detach()
    assert numbers["recognised"][66] == scores.argmax()
    np.testing.assert_allclose(numbers["confidence"][66], scores.max(), rtol=1e-4)
    for tile in range(2):
        shown = whole.picture("conv2", 66, "samples", tile)
        assert shown is not None
        exact = sampled.images[0, tile].permute(1, 2, 0).numpy() * 255
        assert np.abs(np.asarray(shown) - exact).max() < 1


def test_the_callers_random_numbers_and_model_stay_as_they_are(tmp_path: Path) -> None:
    network, state = small().train(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ldam.atlas(network, "fc", out=tmp_path, engine="serial", **QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.slow
def test_modes_of_the_caller_do_not_matter(whole: ldam.Atlas, tmp_path: Path) -> None:
    """Processes would not see them, so bytes would depend on the engine."""
    network = small()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            ldam.atlas(network, out=tmp_path / "atlas", engine="serial", **QUICK)
    finally:
        torch.set_default_dtype(torch.float32)
    assert bytes_of(tmp_path / "atlas") == bytes_of(whole.path)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    given = QUICK | {"warm_up": np.int64(4), "temperature": np.float32(0.5), "goal": None}
    made = ldam.atlas(small(), "fc", out=tmp_path, engine="serial", **given)
    assert (made.recipe["warm_up"], made.recipe["temperature"]) == (4, 0.5)


def test_another_judge_of_the_same_name_is_another_recipe(tmp_path: Path) -> None:
    for number, raises in ((1.0, False), (2.0, True)):

        def judge(x: Tensor, number: float = number) -> Tensor:
            return torch.full((len(x), 3), number)

        with pytest.raises(ValueError, match="answers differently") if raises else contextlib.nullcontext():
            ldam.atlas(small(), "fc", out=tmp_path, engine="serial", judge=judge, **QUICK)


def test_seeds_differ_between_units_layers_and_seeds() -> None:
    images = [
        UnitSampler(small(), layer, [unit], recipe(seed=seed), "cpu").images
        for layer, unit, seed in (("conv2", 1, 0), ("conv2", 2, 0), ("conv1", 1, 0), ("conv2", 1, 1), ("conv2", 1, 0))
    ]
    assert torch.equal(images[0], images[-1])
    assert not any(torch.equal(images[0], other) for other in images[1:-1])


@pytest.mark.slow
def test_a_build_that_is_stopped_goes_on_to_the_same_bytes(whole: ldam.Atlas, tmp_path: Path) -> None:
    renderer, calls = rendering.Renderer.render, []

    def interrupted(self: Any, layer: Any, block: int) -> Any:
        calls.append((layer.name, block))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return renderer(self, layer, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering.Renderer, "render", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    assert [done for done, _ in ldam.Atlas(tmp_path).status().layers.values()] == [1, 1, 0]
    assert not ldam.Atlas(tmp_path).status().problems
    ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    assert bytes_of(tmp_path) == bytes_of(whole.path)


@pytest.mark.slow
def test_parts_give_the_same_bytes(whole: ldam.Atlas, tmp_path: Path) -> None:
    for number in (1, 0):
        ldam.atlas(small(), out=tmp_path, engine="serial", part=(number, 2), **QUICK)
    assert bytes_of(tmp_path) == bytes_of(whole.path)


@pytest.mark.slow
def test_damaged_blocks_are_told_and_rendered_again(whole: ldam.Atlas, tmp_path: Path) -> None:
    ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    (tmp_path / "conv1/00000/samples.webp").write_bytes(b"RIFF")
    (tmp_path / "conv2/00001/done.json").unlink()
    with pytest.warns(ldam.LDAMWarning, match="rendered again"):
        ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    assert bytes_of(tmp_path) == bytes_of(whole.path)


@pytest.mark.slow
def test_another_recipe_is_refused_unless_told(tmp_path: Path) -> None:
    ldam.atlas(small(), "fc", out=tmp_path, engine="serial", **QUICK)
    before = bytes_of(tmp_path)
    for other, words in (
        ({"steps": 9}, "steps 8 instead of 9"),
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"preprocess": twice}, "answers differently"),
        ({"layers": "conv1"}, "other layers"),
    ):
        given = {"layers": "fc"} | QUICK | other
        with pytest.raises(ValueError, match=words):
            ldam.atlas(small(), out=tmp_path, engine="serial", **given)
    with pytest.raises(ValueError, match="model"):
        ldam.atlas(small(4), "fc", out=tmp_path, engine="serial", **QUICK)
    assert bytes_of(tmp_path) == before
    ldam.atlas(small(4), "fc", out=tmp_path, engine="serial", overwrite=True, **QUICK)
    after = bytes_of(tmp_path)
    assert after.keys() == before.keys()
    assert not ldam.Atlas(tmp_path).status(verify=True).problems
    assert after != before


def twice(x: Tensor) -> Tensor:
    return 2 * x


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="other files and no atlas"):
        ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    with pytest.raises(ValueError, match="is a file"):
        ldam.atlas(small(), out=tmp_path / "notes.txt", engine="serial", **QUICK)


@pytest.mark.slow
def test_a_unit_with_nan_is_told_and_the_others_are_as_ever(tmp_path: Path) -> None:
    network = small()
    network.conv1.register_forward_hook(spoil)
    with pytest.warns(ldam.LDAMWarning, match="1 unit failed"):
        made = ldam.atlas(network, "conv1", out=tmp_path, engine="serial", **QUICK)
    block = made.block("conv1", 0)
    assert block is not None
    assert block.failures.keys() == {4}
    assert "neuron 4" in block.failures[4]
    assert made.status().failures.keys() == {"conv1:4"}
    assert made.picture("conv1", 4) is None
    numbers = made.numbers("conv1")
    assert numbers["verdict"][4] == 4
    assert np.isnan(numbers["activation"][4]).all()
    clean = small()
    for unit in (0, 3, 5):
        sampled = UnitSampler(clean, "conv1", [unit], recipe(), "cpu").sampled(QUICK["steps"])
        with torch.no_grad():
            expected = clean.conv1(sampled.images[0])[:, unit, 5, 5]
        np.testing.assert_allclose(numbers["activation"][unit], expected, rtol=1e-4)


def spoil(module: Any, inputs: Any, output: Tensor) -> Tensor:
    """Unit 4 is NaN."""
    return output.masked_fill(torch.arange(6).view(-1, 1, 1) == 4, torch.nan)


@pytest.mark.slow
def test_a_dead_unit_has_the_verdict_dead(tmp_path: Path) -> None:
    network = small(kind=ReLUs)
    with torch.no_grad():
        network.conv2.bias[3] = -1e3
    made = ldam.atlas(network, "relu", out=tmp_path, engine="serial", **QUICK)
    verdict = made.numbers("relu")["verdict"]
    assert verdict[3] == 3
    block = made.block("relu", 0)
    assert block is not None
    assert "dead" in block.verdicts[3]
    assert made.picture("relu", 3) is not None
    assert (verdict != 3).sum() > 35


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("no more"), "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError"),
    ],
)
def test_a_block_that_fails_is_told_and_the_rest_goes_on(
    whole: ldam.Atlas, tmp_path: Path, error: Exception, words: str
) -> None:
    renderer = rendering.Renderer.render

    def failing(self: Any, layer: Any, block: int) -> Any:
        if (layer.name, block) == ("conv2", 0):
            raise error
        return renderer(self, layer, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering.Renderer, "render", failing)
        with pytest.warns(ldam.LDAMWarning, match="1 block failed"):
            made = ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    status = made.status()
    assert status.layers == {"conv1": (1, 1), "conv2": (1, 2), "fc": (1, 1)}
    assert words in status.failures["conv2 block 0"]
    ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    assert bytes_of(tmp_path) == bytes_of(whole.path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_stops_the_build_and_leaves_it_valid(
    whole: ldam.Atlas, tmp_path: Path, number: int
) -> None:
    write, written = folder._write, []

    def full(path: Path, content: bytes) -> None:
        written.append(path.name)
        if len(written) > 12:
            path.write_bytes(content[:10])
            raise OSError(number, "no room")
        write(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "_write", full)
        with pytest.raises(OSError, match="no room; what is done stays"):
            ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    status = ldam.Atlas(tmp_path).status(verify=True)
    assert 0 < sum(done for done, _ in status.layers.values()) < 4
    assert not status.problems
    ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)
    assert bytes_of(tmp_path) == bytes_of(whole.path)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_rendered(tmp_path: Path) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "_write", refuse)
        with pytest.raises(OSError, match="Read-only"):
            ldam.atlas(small(), out=tmp_path, engine="serial", **QUICK)


def test_batches_that_do_not_fit_into_memory_are_refused_not_rounded(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldam_widget.network.memory.budget", lambda device: 1000.0)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            made = ldam.atlas(small(), "conv1", out=tmp_path, engine="serial", **QUICK)
    assert "not enough memory for a batch of 12 images" in made.status().failures["conv1 block 0"]


def test_judge_prior_goal_and_class_names(tmp_path: Path) -> None:
    def judge(x: Tensor) -> Tensor:
        return torch.tensor([[0.0, 0.0, 9.0]]).expand(len(x), 3)

    made = ldam.atlas(
        small(), "fc", out=tmp_path, engine="serial", judge=judge, goal=1.0, seed=2, class_names=list("abcde"),
        prior=ldam.Natural("photos"), kernel=ldam.kernels.BAOAB(None), tile=5, **QUICK,
    )  # fmt: skip
    assert (made.numbers("fc")["recognised"] == 2).all()
    assert made.class_names == tuple("abcde")
    assert made.layer("fc").sheets["samples"].tile == (5, 5)
    assert "judge" in made.recipe["judge"]


def test_class_names_that_are_given_later_replace_those_before(tmp_path: Path) -> None:
    build = partial(ldam.atlas, small(), "fc", out=tmp_path, engine="serial", **QUICK)
    build()
    before = bytes_of(tmp_path)
    assert build(class_names=list("abcde")).class_names == tuple("abcde")
    assert build().class_names == tuple("abcde")  # none are given: they stay
    assert build(class_names=list("vwxyz")).class_names == tuple("vwxyz")
    after = bytes_of(tmp_path)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"atlas.json"}


def test_class_names_of_another_number_are_told_of(tmp_path: Path) -> None:
    with pytest.warns(ldam.LDAMWarning, match="class_names has 3 names for 5 scores"):
        ldam.atlas(small(), "fc", out=tmp_path, engine="serial", class_names=list("abc"), **QUICK)


@pytest.mark.slow
def test_pictures_of_plain_pixels_are_told_of_unless_asked_for(tmp_path: Path) -> None:
    network = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), 1)
    given = {**QUICK, "input_shape": (1, 16, 16), "engine": "serial"}
    with pytest.warns(ldam.LDAMWarning, match=r"plain pixels.*Natural\.of\(images\)"):
        ldam.atlas(network, out=tmp_path / "a", **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ldam.LDAMWarning)
        ldam.atlas(network, out=tmp_path / "b", prior=None, **given)


@pytest.mark.slow
def test_a_survey_adds_percentiles_top_images_and_crops(tmp_path: Path) -> None:
    own = torch.Generator().manual_seed(0)
    images = torch.rand(40, *SHAPE, generator=own)
    found = ldam.survey(small(), images, k=5, pixel_range=(0.0, 1.0), progress=False)
    made = ldam.atlas(small(), out=tmp_path / "a", engine="serial", survey=found, **QUICK)
    numbers = made.numbers("conv2")
    for unit in (0, 69):
        top = found.top("conv2", unit)
        assert numbers["top_image"][unit].tolist() == [entry.image for entry in top]
        np.testing.assert_allclose(numbers["top_value"][unit], [entry.value for entry in top])
        expected = found.percentile("conv2", unit, float(numbers["largest"][unit].mean()))
        assert numbers["percentile"][unit] == np.float32(expected)
        crop = found.crops("conv2", unit).images[1].permute(1, 2, 0).numpy() * 255
        shown = made.picture("conv2", unit, "top", 1)
        assert shown is not None
        assert (shown.height, shown.width) == crop.shape[:2] == (5, 5)
        assert np.abs(np.asarray(shown) - crop).max() < 1
    assert made.picture("conv2", 3, "deconv", 4) is not None
    found.save(tmp_path / "survey")
    alone = ldam.atlas(small(), out=tmp_path / "b", engine="serial", survey=tmp_path / "survey", **QUICK)
    assert "top" not in alone.layer("conv2").sheets
    np.testing.assert_array_equal(alone.numbers("conv2")["percentile"], numbers["percentile"])
    with pytest.raises(ValueError, match="survey= is of another model"):
        ldam.atlas(small(4), out=tmp_path / "c", engine="serial", survey=found, **QUICK)
    with pytest.raises(ValueError, match="survey= is of a model that answers differently"):
        ldam.atlas(small(), out=tmp_path / "c", engine="serial", survey=found, preprocess=twice, **QUICK)


def test_a_vector_input_and_a_model_of_tokens(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(6, 3))
    made = ldam.atlas(network, input_shape=(6,), out=tmp_path, steps=4, warm_up=2, engine="serial", progress=False)
    assert made.status().complete
    picture = made.picture("0", 1)
    assert picture is not None
    assert picture.size == (6, 1)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps"),
        ({"chains": 0}, ValueError, "chains"),
        ({"execution": "auto"}, ValueError, "depends on a trial"),
        ({"goal": "p99"}, ValueError, "goal must be a finite number"),
        ({"goal": float("inf")}, ValueError, "goal must be a finite number"),
        ({"temperature": "hot"}, TypeError, "temperature must be"),
        ({"temperature": float("nan")}, ValueError, "temperature must be"),
        ({"at": "edge"}, ValueError, "at must be"),
        ({"transforms": "x"}, TypeError, "transforms must be"),
        ({"execution": "fast"}, ValueError, "execution must be"),
        ({"warm_up": 0}, ValueError, "warm_up must be"),
        ({"judge": 3}, TypeError, "judge must be"),
        ({"judge": lambda x: "a cat"}, TypeError, "judge must return a tensor of scores"),
        ({"class_names": 3}, TypeError, "class_names must be"),
        ({"engine": "ray"}, ValueError, "engine must be"),
        ({"engine": 3}, TypeError, "engine must be"),
        ({"part": (2, 2)}, ValueError, r"part must be \(i, n\)"),
        ({"layers": "conv3"}, ValueError, "conv3"),
        ({"workers": 0}, ValueError, "workers"),
        ({"kernel": "BAOAB"}, TypeError, "kernel must be"),
        ({"input_shape": (3, 0)}, ValueError, "input_shape"),
    ],
)
def test_bad_arguments(tmp_path: Path, given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ldam.atlas(small(), out=tmp_path / "atlas", **QUICK | given)
    assert not (tmp_path / "atlas").exists()


def test_a_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a function that makes one; got 3"):
        ldam.atlas(3, out=tmp_path, engine="serial", **QUICK)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got 'x' from"):
        ldam.atlas(lambda: "x", out=tmp_path, engine="serial", **QUICK)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="must make the same one each time"):
        ldam.atlas(another_each_time, "fc", out=tmp_path / "a", engine="serial", **QUICK)


def test_the_card_has_no_time_and_no_machine(whole: ldam.Atlas) -> None:
    done = json.loads((whole.path / "fc/00000/done.json").read_text())
    assert done.keys() == {"format", "recipe", "layer", "block", "first", "units", "failures", "verdicts", "files"}
