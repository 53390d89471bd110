"""What follows a training, without a widget: kept weights, a sampler of other weights, and its cost."""

from __future__ import annotations

import copy
import itertools
import random
import threading
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldam_widget import LDAMWarning, Sampler, SamplingError
from ldam_widget.kernels import BAOAB, MALA
from ldam_widget.network.view import weights_of
from ldam_widget.sampling.follower import Checkpoint, CheckpointHistory, Cost, Follower, taken

from .conftest import UNSCALED, with_fixed_weights


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4))


def two_models() -> tuple[nn.Module, nn.Module]:
    """With different weights and running statistics."""
    models = [with_fixed_weights(network, seed) for seed in (1, 2)]
    generator = torch.Generator().manual_seed(0)
    for model in models:
        model.train()
        model(torch.randn(20, 6, generator=generator))
        model.eval()
    return models[0], models[1]


def follower(model: nn.Module, **options: Any) -> Follower:
    return Follower(model, **{"input_shape": (6,), "kernel": BAOAB(0.2), "seed": 3, **UNSCALED} | options)


def true_activation(model: nn.Module, images: Tensor) -> Tensor:
    """Of unit n, by `model` itself, at the images (N, C, …) of neuron n."""
    with torch.no_grad():
        out = model(images.flatten(0, 1)).view(*images.shape[:2], -1)
    return torch.stack([out[n, :, n] for n in range(len(images))])


# ---- kept weights --------------------------------------------------------------------------------------------------


def checkpoint(iteration: int, value: float = 0.0) -> Checkpoint:
    return Checkpoint(iteration, [torch.tensor([value])], None)


@pytest.mark.parametrize("limit", [2, 3, 4, 5, 24, 64])
def test_history_is_bounded_and_spans_the_training(limit: int) -> None:
    history, iteration, draw = CheckpointHistory(limit), 0, random.Random(limit)
    for added in range(600):
        history.add(checkpoint(iteration, iteration))
        kept = history.iterations
        assert len(kept) == min(added + 1, limit)
        assert kept == sorted(set(kept))
        assert (kept[0], kept[-1]) == (0, iteration)
        assert [c.weights[0].item() for c in history.kept] == kept, "weights stay with their iteration"
        if added < 400 or added > 500:  # in between, checkpoints come at irregular times
            gaps = [b - a for a, b in itertools.pairwise(kept)]
            assert max(gaps, default=0) <= max(10, 4 * iteration / (limit - 1)), "no part of the training is lost"
        iteration += 10 if added < 400 else draw.choice([1, 10, 30])


def test_the_newest_of_an_iteration_counts() -> None:
    history = CheckpointHistory(3)
    for iteration, value in [(0, 1.0), (0, 2.0), (5, 3.0), (5, 4.0)]:
        history.add(checkpoint(iteration, value))
    assert [(c.iteration, c.weights[0].item()) for c in history.kept] == [(0, 2.0), (5, 4.0)]


def test_half_precision_of_all_but_the_newest() -> None:
    weights = [torch.tensor([0.1, 70.0]), torch.tensor([0.1], dtype=torch.float64), torch.tensor([3, 2**20])]
    too_large = torch.tensor([1.0, 1e6])
    history = CheckpointHistory(4, half=True)
    for iteration in range(6):
        history.add(Checkpoint(iteration, [*weights, too_large], [w.clone() for w in weights]))
    *older, newest = history.kept
    assert len(older) == 3
    assert [w.dtype for w in newest.weights] == [torch.float32, torch.float64, torch.int64, torch.float32]
    for kept in older:
        assert kept.average is not None
        for tensors in (kept.weights, kept.average):
            assert [w.dtype for w in tensors[:3]] == [torch.float16, torch.float16, torch.int64]
            assert tensors[0].tolist() == pytest.approx([0.1, 70], rel=2**-11)
            assert tensors[2].tolist() == [3, 2**20]
        assert torch.equal(kept.weights[3], too_large), "what half precision cannot hold is kept as it is"


def test_taken_are_copies_each_tensor_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight  # tied
    before = copy.deepcopy(model)
    weights = taken(model)
    assert len(weights) == 3 + 2 + 3  # weight and two biases; of the norm, two parameters and three buffers
    for own in weights_of(model):
        own.data.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(weights, weights_of(before), strict=True))
    assert not any(w.requires_grad for w in weights)


# ---- a sampler that follows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["none", "frozen"])
def test_from_the_start_it_samples_like_any_sampler_of_these_weights(scale: str) -> None:
    first, second = two_models()
    s = follower(first, scale=scale, warm_up=10, pixel_range=(-2, 2))
    s.step(7)
    s.follow(100, taken(second))
    s.restart()
    settings = {"input_shape": (6,), "kernel": BAOAB(0.2), "seed": 3, **UNSCALED, "scale": scale}
    other = Sampler(second, warm_up=10, pixel_range=(-2, 2), **settings)
    assert torch.equal(s.step(30).images, other.step(30).images)
    assert s.iteration == 100


@pytest.mark.parametrize("kernel", [BAOAB(0.2), MALA(0.05)])
def test_from_where_it_stands_it_goes_on_with_the_new_weights(kernel: Any) -> None:
    """As a sampler that shares the weights of a model whose weights are changed in place."""
    first, second = two_models()
    theirs = copy.deepcopy(first)
    s = follower(first, kernel=kernel, scale="frozen", warm_up=5)
    other = Sampler(theirs, input_shape=(6,), kernel=kernel, seed=3, scale="frozen", temperature=1.0, warm_up=5)
    assert torch.equal(s.step(10).images, other.step(10).images)
    s.follow(1, taken(second), pace=0.4)
    theirs.load_state_dict(second.state_dict())
    other.weights_changed(0.4)
    assert torch.equal(s.step(10).images, other.step(10).images)
    torch.testing.assert_close(s.activation, true_activation(second, s.images))


def test_scales_go_towards_the_gradient_of_the_new_weights() -> None:
    first, second = two_models()

    def norms(model: nn.Module, images: Tensor) -> Tensor:
        x = images[:, 0].clone().requires_grad_()
        (grad,) = torch.autograd.grad(model(x).diagonal().sum(), x)
        return grad.norm(dim=1)

    s = follower(first, scale="frozen", warm_up=5)
    s.step(20)
    before = torch.tensor(s.scales["neuron"])
    s.follow(1, taken(second), pace=0.25)
    s.adopt()
    new = norms(second, s.images)
    assert not torch.allclose(before, new, rtol=0.05)
    torch.testing.assert_close(torch.tensor(s.scales["neuron"]), 0.75 * before + 0.25 * new)
    s.follow(2, taken(second), pace=1.0)
    s.adopt()
    torch.testing.assert_close(torch.tensor(s.scales["neuron"]), new)


def test_the_model_may_change_meanwhile() -> None:
    model = two_models()[0]
    plain = follower(copy.deepcopy(model)).step(20).images
    s = follower(model)
    s.step(5)
    for own in weights_of(model):
        own.data.zero_()
    assert torch.equal(s.step(15).images, plain)


@pytest.mark.slow
def test_every_picture_is_of_one_set_of_weights() -> None:
    """`follow` from another thread while it steps; the last one stays."""
    model = two_models()[0]
    s = follower(model)
    sets = [[torch.full_like(w, 0.01 * k) for w in taken(model)] for k in range(50)]
    seen = set()
    s.follow(0, sets[0])
    s.step()

    def feed() -> None:
        for k in range(500):
            s.follow(k, sets[k % 50])
            time.sleep(0.001)

    thread = threading.Thread(target=feed)
    thread.start()
    while thread.is_alive():
        s.step(2)
        values = {float(v) for w in weights_of(s.view) for v in w.flatten() if w.is_floating_point()}
        assert len(values) == 1
        seen |= values
    thread.join()
    s.step()
    assert s.iteration == 499
    assert len(seen) > 1


def test_weights_that_are_not_finite_are_reported_and_skipped() -> None:
    first, second = two_models()
    s = follower(first, scale="frozen", warm_up=5)
    s.step(10)
    images, scales = s.images.clone(), s.scales
    s.follow(70, [w * float("nan") if w.is_floating_point() else w for w in taken(first)])
    with pytest.raises(SamplingError, match=r"iteration 70 .*NaN.*diverged"):
        s.step(5)
    assert torch.equal(s.images, images)
    assert s.scales == scales
    s.follow(60, taken(second))
    s.step(5)
    torch.testing.assert_close(s.activation, true_activation(second, s.images))


def test_in_any_mode_of_the_callers() -> None:
    first, second = two_models()
    for mode in (torch.no_grad, torch.inference_mode):
        s = follower(first, scale="frozen", warm_up=5)
        with mode():
            s.step(3)
            s.follow(1, taken(second))
            s.step(3)
        s.step(3)
        torch.testing.assert_close(s.activation, true_activation(second, s.images))


def test_training_mode_is_reported_in_the_panel_alone(recwarn: pytest.WarningsRecorder) -> None:
    model = two_models()[0].train()
    s = follower(model)
    assert any("training mode" in note for note in s.notes)
    assert not [w for w in recwarn if issubclass(w.category, LDAMWarning)]
    assert all(module.training for module in model.modules())


def wrapped_in_data_parallel(model: nn.Module) -> nn.Module:
    return nn.DataParallel(model)


def wrapped_by_compile(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # not run, hence not compiled


def wrapped_inside(model: nn.Module) -> nn.Module:
    model[0] = torch.compile(model[0])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [wrapped_in_data_parallel, wrapped_by_compile, wrapped_inside])
def test_wrapped_models(wrap: Any) -> None:
    first, second = two_models()
    s = follower(wrap(first))
    s.follow(1, taken(wrap(copy.deepcopy(second))))
    s.step(2)
    torch.testing.assert_close(s.activation, true_activation(second, s.images))


# ---- what it costs -------------------------------------------------------------------------------------------------


def ticks(cost: Cost, times: list[float], drawn: bool, start: float) -> float:
    for seconds in times:
        start += seconds
        cost.tick(start, drawn)
    return start


def test_cost_is_the_ratio_of_means_without_pauses() -> None:
    cost = Cost()
    now = ticks(cost, [9.0] * 5, False, 0.0)  # the first ones are slow
    assert (cost.calibrated, cost.share) == (False, None)
    now = ticks(cost, [0.01] * 29, False, now)
    assert not cost.calibrated  # 0.3 s
    now = ticks(cost, [0.01] * 70 + [5.0], False, now)  # a validation
    assert cost.calibrated
    now = ticks(cost, [30.0], True, now)  # it began somewhere in this one: of neither kind
    now = ticks(cost, [0.01] * 7, True, now)
    assert cost.share is None
    ticks(cost, [0.01] * 83 + [0.06] * 9 + [5.0], True, now)
    assert cost.share == pytest.approx((90 * 0.01 + 9 * 0.06) / 99 / 0.01 - 1)  # no median would see the nine
    assert cost.iterations == 5 + 100 + 1 + 100


def test_cost_is_of_the_last_iterations_and_not_negative() -> None:
    cost = Cost()
    now = ticks(cost, [1.0] * 30, False, 0.0)
    now = ticks(cost, [2.0] * 300, True, now)
    assert cost.share == pytest.approx(1)
    now = ticks(cost, [1.2] * 300, True, now)
    assert cost.share == pytest.approx(0.2)
    ticks(cost, [0.5] * 300, True, now)
    assert cost.share == 0


def test_a_forward_hook_of_the_training_sees_the_training_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    seen: list[int] = []
    model[1].register_forward_hook(lambda _module, _inputs, output: seen.append(len(output)))
    follower = Follower(model, input_shape=(1, 4, 4))
    follower.step(3)
    assert "forward hooks" in follower.notes[0]
    assert seen == []
    model(torch.zeros(7, 1, 4, 4))
    assert seen == [7]
