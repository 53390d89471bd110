"""`Sampler`: the contract of its attributes, reproducibility, live parameters, faults, streams."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.parameters import Parameter
from ldam_widget.kernels import Algorithm1

from .conftest import SIGMAS, TINY_SHAPE, UNSCALED, TinyCnn, run_seed, with_fixed_weights


def sampler(model: nn.Module | None = None, **arguments: Any) -> ldam.Sampler:
    model = with_fixed_weights(TinyCnn) if model is None else model
    defaults = {"input_shape": TINY_SHAPE, "neurons": [0, 2, 3], "chains": 2, "kernel": Algorithm1(0.1, 0.05, 0.6)}
    return ldam.Sampler(model, **{**defaults, **UNSCALED, **arguments})


# ---- what the contract says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_shapes_and_types(dtype: torch.dtype, default: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        s = sampler(with_fixed_weights(TinyCnn).to(dtype))
        frame = s.step(3)
    finally:
        torch.set_default_dtype(before)
    for images in (s.images, s.average_images, frame.images, frame.average_images):
        assert images.shape == (3, 2, *TINY_SHAPE)
        assert images.dtype == torch.float32
        assert not images.requires_grad
    assert s.activation.shape == frame.activation.shape == (3, 2)
    assert s.activation.dtype == torch.float32
    assert s.burned_in.shape == (3, 2)
    assert s.burned_in.dtype == torch.bool
    assert s.steps == frame.steps == 3
    assert type(s.steps) is int
    assert frame.params == s.params


def test_activation_is_what_the_network_says_of_the_images(tiny_cnn: nn.Module) -> None:
    s = sampler(tiny_cnn)
    s.step(7)
    with torch.no_grad():
        logits = tiny_cnn(s.images.flatten(0, 1)).view(3, 2, 5)
    expected = torch.stack([logits[i, :, unit] for i, unit in enumerate([0, 2, 3])])
    torch.testing.assert_close(s.activation, expected)


def test_params_hold_every_live_parameter_and_are_json_safe() -> None:
    s = sampler(regularizers=[ldam.L2(1)], temperature=2, average=ldam.Window(10), steps_per_frame=4)
    assert json.loads(json.dumps(s.params)) == s.params
    assert s.params == {
        "step_size": 0.1, "temperature": 2.0, "noise": 0.05, "momentum": 0.6, "heat": 1.0, "steps_per_frame": 4,
        "l2": 1.0, "average": 10.0, "display_scale": 1.0, "display_base": 127.5,
    }  # fmt: skip
    assert [p.name for p in s.parameters] == list(s.params)
    assert all(p.help and p.low <= p.default <= p.high for p in s.parameters if p.default)
    json.dumps([p.describe() for p in s.parameters])


def test_a_decaying_step_size_shows_its_present_value() -> None:
    s = sampler(kernel=Algorithm1(ldam.PolynomialDecay(a=1.0, b=1.0, mu=1.0)))
    assert s.params["step_size"] == 1.0
    s.step(4)
    assert s.params["step_size"] == pytest.approx(0.2)
    json.dumps(s.params)
    s.set(step_size=0.5)
    s.step(4)
    assert s.params["step_size"] == 0.5
    s.set(step_size=ldam.PolynomialDecay(a=2.0, b=2.0, mu=1.0))
    assert s.params["step_size"] == pytest.approx(2 / (2 + 8))


def test_neurons_default_to_the_first_ten() -> None:
    s = ldam.Sampler(nn.Linear(6, 12), input_shape=(6,))
    assert [n.unit for n in s.neurons] == list(range(10))
    assert s.units == 12


# ---- start images ----------------------------------------------------------------------------------------------------


@pytest.mark.statistical
def test_start_images_are_standard_normal_where_pixels_are_unbounded() -> None:
    """Mean and variance of 46,080 numbers. False alarm: 8e-8."""
    x = sampler(chains=107, seed=run_seed()).images
    assert abs(float(x.mean())) < SIGMAS / math.sqrt(x.numel())
    assert abs(float(x.var()) - 1) < SIGMAS * math.sqrt(2 / x.numel())


@pytest.mark.statistical
def test_start_images_are_uniform_in_the_pixel_range() -> None:
    """No share of them on the walls; mean and variance of the uniform law. False alarm: 4e-8 each."""
    low, high = -2.0, 6.0
    x = sampler(chains=107, seed=run_seed(), pixel_range=(low, high)).images
    assert float(x.min()) >= low
    assert float(x.max()) <= high
    assert float(((x == low) | (x == high)).float().mean()) < 1e-3
    unit = (x.double() - low) / (high - low) - 0.5
    assert abs(float(unit.mean())) < SIGMAS * math.sqrt(1 / 12 / x.numel())
    # the square of a number uniform on ±½ has the mean 1/12 and the variance 1/180
    assert abs(float(unit.square().mean()) - 1 / 12) < SIGMAS * math.sqrt(1 / 180 / x.numel())


def test_pixels_stay_in_their_range() -> None:
    s = sampler(pixel_range=(0.0, 1.0), kernel=Algorithm1(0.5, noise=2.0))
    s.step(30)
    assert float(s.images.min()) >= 0
    assert float(s.images.max()) <= 1


# ---- reproducibility -------------------------------------------------------------------------------------------------


def after_40_steps(how: str, steps_per_frame: int) -> Tensor:
    s = sampler(steps_per_frame=steps_per_frame, pixel_range=(0.0, 1.0))
    if how == "one by one":
        for _ in range(40):
            s.step()
    elif how == "at once":
        s.step(40)
    elif how == "unevenly":
        for n in (1, 2, 3, 5, 7, 11, 11):
            s.step(n)
    elif how == "framed":
        for _ in s.frames(steps=40):
            pass
    elif how == "streamed":

        async def consume() -> None:
            async for _ in s.stream(steps=40):
                pass

        asyncio.run(consume())
    assert s.steps == 40
    return s.images


@pytest.mark.slow
@pytest.mark.parametrize("how", ["one by one", "at once", "unevenly", "framed", "streamed"])
@pytest.mark.parametrize("steps_per_frame", [1, 3, 101])
def test_same_seed_same_chains_however_they_are_stepped(how: str, steps_per_frame: int) -> None:
    assert torch.equal(after_40_steps(how, steps_per_frame), after_40_steps("at once", 2))


def test_another_seed_gives_other_chains() -> None:
    one, other = sampler(seed=0), sampler(seed=1)
    assert not torch.equal(one.images, other.images)
    one.step(5)
    other.step(5)
    assert float((one.images - other.images).abs().min()) > 0


@pytest.mark.slow
def test_chain_0_does_not_depend_on_how_many_chains_there_are() -> None:
    """The noise is the same bit by bit. The gradients are those of another batch size, for which the libraries below
    may choose another order of summation: rounding, which the few steps here do not amplify."""
    few, many = sampler(chains=4), sampler(chains=64)
    assert torch.equal(few.images[:, 0], many.images[:, 0])
    few.step(20)
    many.step(20)
    torch.testing.assert_close(few.images, many.images[:, :4], rtol=1e-4, atol=1e-5)


def test_two_models_with_one_seed_see_the_same_noise() -> None:
    """What differs between their pictures is the weights."""
    kernel = Algorithm1(noise=1.0, momentum=0.0, normalize="none")
    one, other = (
        ldam.Sampler(with_fixed_weights(lambda: nn.Linear(6, 2), seed), input_shape=(6,), kernel=kernel)
        for seed in (1, 2)
    )
    before = one.images
    assert torch.equal(before, other.images)
    pulls = [s.view.weight[:, None] * 0.1 for s in (one, other)]
    noises = [s.step(1).images - before - pull for s, pull in zip((one, other), pulls, strict=True)]
    torch.testing.assert_close(noises[0], noises[1], rtol=0, atol=1e-6)
    assert float(noises[0].std()) > 0.05


def test_a_state_or_frame_once_taken_never_changes() -> None:
    s = sampler(pixel_range=(0.0, 1.0))
    frames = [s.frame(), s.step(1), s.step(2)]
    copies = [[t.clone() for t in f if isinstance(t, Tensor)] for f in frames]
    s.step(40)
    s.restart(9)
    for frame, copy in zip(frames, copies, strict=True):
        assert all(torch.equal(t, c) for t, c in zip([t for t in frame if isinstance(t, Tensor)], copy, strict=True))


# ---- live parameters -------------------------------------------------------------------------------------------------


def test_a_change_acts_from_the_next_step_on() -> None:
    """Ten steps without and ten with L2, against the same in two kernels by hand."""
    linear = with_fixed_weights(lambda: nn.Linear(6, 1))
    s = ldam.Sampler(linear, input_shape=(6,), kernel=Algorithm1(0.1, 0.0, 0.0, normalize="none"))
    x, w = s.images[0, 0].clone(), linear.weight[0].detach()
    s.step(10)
    s.set(l2=0.5, step_size=0.2)
    s.step(10)
    for beta, weight in [(0.1, 0.0)] * 10 + [(0.2, 0.5)] * 10:
        x = x + beta * (w - weight * x)
    torch.testing.assert_close(s.images[0, 0], x)


def test_set_is_all_or_none_and_shows_in_params() -> None:
    s = sampler()
    s.set(step_size=0.05, temperature=2, l2=0.3, steps_per_frame=5, display_scale=2)
    assert s.params["step_size"] == 0.05
    assert (s.params["temperature"], s.params["l2"], s.params["steps_per_frame"]) == (2, 0.3, 5)
    before = s.params
    with pytest.raises(ValueError, match="momentum"):
        s.set(l2=0.9, momentum=7)
    assert s.params == before


def test_zero_temperature_is_no_noise() -> None:
    noiseless = sampler(kernel=Algorithm1(0.1, 0.0, 0.6))
    assert torch.equal(sampler(temperature=0).step(9).images, noiseless.step(9).images)


def test_steps_per_frame_may_be_lowered_between_two_pictures() -> None:
    s = sampler(steps_per_frame=50)
    s.step(30)
    s.set(steps_per_frame=2)
    s.step(10)
    assert s.steps == 40
    assert s.history.steps().tolist()[0] <= 32


# ---- pictures: frames, averages, restarts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "per_frame", "expected"), [(10, 2, [2, 4, 6, 8, 10]), (7, 3, [3, 6, 7]), (1, 5, [1])]
)
def test_frames_come_every_so_many_steps(steps: int, per_frame: int, expected: list[int]) -> None:
    assert [frame.steps for frame in sampler(steps_per_frame=per_frame).frames(steps)] == expected


def test_frames_without_end_follow_the_live_parameter() -> None:
    s, seen = sampler(steps_per_frame=2), []
    for frame in s.frames():
        seen.append(frame.steps)
        if len(seen) == 3:
            s.set(steps_per_frame=5)
        if len(seen) == 5:
            break
    assert seen == [2, 4, 6, 11, 16]


def test_averages_count_pictures_and_not_steps() -> None:
    s = sampler(steps_per_frame=3, average=ldam.Window(100))
    assert torch.equal(s.average_images, s.images)  # before the first picture
    pictures = []
    for step in range(1, 15):
        s.step(1)
        if step % 3 == 0:
            pictures.append(s.images)
        expected = torch.stack(pictures).mean(0) if pictures else s.images
        torch.testing.assert_close(s.average_images, expected)


def test_reset_average_forgets_and_goes_on() -> None:
    s = sampler(steps_per_frame=1)
    s.step(10)
    images = s.images
    s.reset_average()
    assert torch.equal(s.images, images)
    s.step(1)
    assert torch.equal(s.average_images, s.images)


def test_restart_repeats_or_takes_another_seed() -> None:
    s = sampler()
    start, first = s.images, s.step(20)
    s.restart()
    assert s.steps == 0
    assert s.history.draws().size == 0
    assert not s.burned_in.any()
    assert torch.equal(s.images, start)
    assert torch.equal(s.average_images, start)
    assert torch.equal(s.step(20).average_images, first.average_images)
    s.restart(seed=3)
    assert s.seed == 3
    assert not torch.equal(s.images, start)
    assert torch.equal(s.step(4).images, sampler(seed=3).step(4).images)


def test_restart_keeps_live_parameters() -> None:
    s = sampler(average=ldam.EMA(0.9), steps_per_frame=1)
    s.set(l2=0.5, average=1)
    s.restart()
    assert s.params["l2"] == 0.5
    s.step(5)
    assert torch.equal(s.average_images, s.images)  # averaging time 1: no averaging


def test_select_aims_at_other_neurons() -> None:
    s = sampler(class_names=["a", "b", "c", "d", "e"])
    s.step(4)
    s.select(neurons=["d", 1])
    assert [n.label for n in s.neurons] == ["3 d", "1 b"]
    assert s.steps == 4  # both were there
    assert s.step(2).images.shape == (2, 2, *TINY_SHAPE)
    s.select("conv2")
    assert [n.key for n in s.neurons] == ["0", "1", "2", "3"]
    s.select(neurons=["layer1.0:2@1,1"])  # a neuron may bring its layer
    assert (s.layer, s.neurons[0].key) == ("layer1.0", "2@1,1")
    s.select(neurons=[0])  # and stays there
    assert s.layer == "layer1.0"
    s.step(2)
    s.select()
    s.select("layer1.0")
    assert s.steps == 2  # nothing new was asked for
    again = sampler(layer="layer1.0", neurons=[0])
    assert torch.equal(s.images, again.step(2).images)


# ---- faults ----------------------------------------------------------------------------------------------------------


class Cliff(nn.Module):
    """f = Σx up to Σx = 10, and NaN beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = nn.Linear(6, 1, bias=False)
        nn.init.ones_(self.sum.weight)
        self.head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        total = self.sum(x)
        return self.head(total + 0 * (10 - total).log())


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
@pytest.mark.parametrize("steps_per_frame", [1, 4])
def test_a_fault_stops_at_the_last_good_state_and_keeps_the_average(steps_per_frame: int, n: int) -> None:
    kernel = Algorithm1(0.05, 0.0, 0.0, normalize="none")  # Σx grows by 6 · .05 a step
    s = ldam.Sampler(Cliff(), layer="head", input_shape=(6,), kernel=kernel, steps_per_frame=steps_per_frame)
    taken = [s.frame()]
    over = math.floor((10 - float(s.images.sum())) / 0.3) + 1  # the step that takes Σx beyond 10

    def go_on() -> None:
        for _ in range(1000):
            taken.append(s.step(n))

    with pytest.raises(ldam.SamplingError, match=rf"neuron 0 \(chain 1\) became nan at step {over}\. Lower step_size"):
        go_on()
    assert bool(s.images.isfinite().all())
    assert bool(s.average_images.isfinite().all())
    assert bool(s.activation.isfinite().all())
    assert over > 10
    assert over - min(n, steps_per_frame) <= s.steps < over
    if n == 1:
        assert s.steps == taken[-1].steps
        assert torch.equal(s.images, taken[-1].images)
        assert torch.equal(s.average_images, taken[-1].average_images)
    average = s.average_images
    s.set(l2=100, step_size=0.01)  # the remedy: it goes on from where it stands
    s.step(steps_per_frame)
    assert not torch.equal(s.average_images, average)
    assert float(s.activation) < 10
    s.restart()
    assert s.steps == 0


def test_an_error_of_the_model_leaves_the_sampler_standing() -> None:
    broken: list[int] = []

    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if broken:
                raise ArithmeticError("of the model's")
            return x

    s = ldam.Sampler(nn.Sequential(Fails(), nn.Linear(6, 2)), input_shape=(6,), kernel=Algorithm1())
    s.step(10)
    images, average = s.images, s.average_images
    broken.append(1)
    with pytest.raises(ArithmeticError, match="of the model's"):
        s.step(5)
    broken.clear()
    assert s.steps == 10
    assert torch.equal(s.images, images)
    assert torch.equal(s.average_images, average)
    s.step(5)


# ---- streams ---------------------------------------------------------------------------------------------------------


def test_stream_gives_the_frames_of_frames() -> None:
    async def consume() -> list[int]:
        return [frame.steps async for frame in sampler(steps_per_frame=3).stream(steps=7)]

    assert asyncio.run(consume()) == [3, 6, 7]


def test_stream_works_off_the_thread_of_the_event_loop_and_leaves_it_free() -> None:
    threads: set[int] = set()

    class Where(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            threads.add(threading.get_ident())
            return x

    model = nn.Sequential(Where(), nn.Linear(6, 2))
    s = ldam.Sampler(model, input_shape=(6,), kernel=Algorithm1(), steps_per_frame=50)
    threads.clear()
    turns = [0]

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def consume() -> None:
        other = asyncio.create_task(turn())
        async for _ in s.stream(steps=200):
            pass
        other.cancel()

    asyncio.run(consume())
    assert threads
    assert threading.get_ident() not in threads
    assert turns[0] > 0


def test_break_stops_a_stream() -> None:
    s = sampler()

    async def consume() -> int:
        async for frame in s.stream():
            if frame.steps >= 6:
                break
        steps = s.steps
        await asyncio.sleep(0.05)
        assert s.steps == steps
        return steps

    assert asyncio.run(consume()) == 6
    s.step(1)


def test_cancel_stops_a_stream_and_leaves_a_whole_number_of_frames() -> None:
    s = sampler(steps_per_frame=4)

    async def consume() -> None:
        async for _ in s.stream():
            pass

    async def run() -> int:
        task = asyncio.create_task(consume())
        while s.steps < 8:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps = s.steps
        await asyncio.sleep(0.05)
        assert s.steps == steps  # nothing goes on in the thread
        return steps

    steps = asyncio.run(run())
    assert steps % 4 == 0
    s.step(40)
    straight = sampler(steps_per_frame=4)
    straight.step(steps + 40)
    assert torch.equal(s.images, straight.images)


def test_cancel_waits_for_the_step_in_progress() -> None:
    """Else the next one to step the sampler would do so while a thread still does."""
    inside, go_on = threading.Event(), threading.Event()
    go_on.set()

    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            inside.set()
            assert go_on.wait(timeout=60)
            return x

    model = nn.Sequential(Gate(), nn.Linear(6, 2))
    s = ldam.Sampler(model, input_shape=(6,), kernel=Algorithm1(), steps_per_frame=1)

    async def consume() -> None:
        async for _ in s.stream():
            pass

    async def run() -> None:
        inside.clear()
        go_on.clear()
        task = asyncio.create_task(consume())
        await asyncio.to_thread(inside.wait)
        task.cancel()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert go_on.is_set()

    asyncio.run(run())
    assert s.steps == 1
    s.step(1)


def test_a_fault_reaches_the_consumer_of_a_stream() -> None:
    s = ldam.Sampler(
        Cliff(), layer="head", input_shape=(6,), kernel=Algorithm1(0.5, 0.0, 0.0, normalize="none"), steps_per_frame=1
    )

    async def consume() -> None:
        async for _ in s.stream():
            pass

    with pytest.raises(ldam.SamplingError):
        asyncio.run(consume())


# ---- diagnostics -----------------------------------------------------------------------------------------------------


def test_diagnostics_of_a_short_run_say_that_they_do_not_know() -> None:
    s = sampler()
    s.step(8)
    d = s.diagnostics()
    assert d["acceptance"] is None  # the kernel accepts everything
    unknown = ("ess", "r_hat", "autocorrelation_time", "ess_per_second", "ess_per_gradient", "mode_switches")
    assert all(len(d[name]) == 3 and all(map(math.isnan, d[name])) for name in unknown)
    assert all(math.isnan(value) for row in d["projections"]["r_hat"] for value in row)
    assert d["verdict"] == {"level": "wait", "text": "burning in"}


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("steps_per_frame", [1, 2])
def test_autocorrelation_time_is_in_steps(steps_per_frame: int) -> None:
    """Plain gradients without momentum make the activation of a linear neuron an AR(1) with φ = 1 − βλ: the time is
    (1 + φ)/(1 − φ) steps, here 9, however many steps lie between pictures. The mean over ten neurons of an estimate
    from 4 × 1500 steps has a standard error of 2 %; with split chains and truncated sums its bias is some per cent."""
    s = ldam.Sampler(
        with_fixed_weights(lambda: nn.Linear(20, 10)), input_shape=(20,),
        kernel=Algorithm1(0.4, 1.0, 0.0, normalize="none"), burn_in=ldam.BurnIn(threshold=-100),
        regularizers=[ldam.L2(0.5)], chains=4, steps_per_frame=steps_per_frame, seed=run_seed(),
    )  # fmt: skip
    s.step(1500)
    d = s.diagnostics()
    assert s.burned_in.all()
    assert sum(d["autocorrelation_time"]) / 10 == pytest.approx(9, rel=0.2)
    assert max(d["r_hat"]) < 1.05
    kept = 4 * (s.history.steps() >= s.burn_in_step).sum()
    for time, ess in zip(d["autocorrelation_time"], d["ess"], strict=True):
        assert time * ess == pytest.approx(kept * steps_per_frame)
    s.set(steps_per_frame=100)  # of the pictures to come; those that are there are as far apart as they were
    assert s.diagnostics()["autocorrelation_time"] == d["autocorrelation_time"]


def slow_start(**more: Any) -> ldam.Sampler:
    """A linear neuron whose activation moves by λ: what is recorded before a change of λ is of another law."""
    return ldam.Sampler(
        with_fixed_weights(lambda: nn.Linear(30, 2)), input_shape=(30,), kernel=ldam.kernels.BAOAB(0.5, 1.0),
        regularizers=[ldam.L2(0.2)], scale="none", temperature=0.01, chains=4, steps_per_frame=1,
        burn_in=ldam.BurnIn(20, tolerance=10), seed=run_seed(), **more,
    )  # fmt: skip


@pytest.mark.statistical
def test_what_is_recorded_is_of_one_law() -> None:
    """Activations w·w/λ before and after a fivefold λ differ by far: together they would say that chains disagree."""
    s = slow_start()
    s.step(300)
    s.set(l2=1.0)
    s.step(20)  # settles within a few steps
    s.set(temperature=0.011)
    s.step(400)
    recorded = s.recorded()
    assert recorded.steps[0] == 321
    assert max(s.diagnostics()["r_hat"]) < 1.1
    s.set(display_scale=2, steps_per_frame=2)  # change no law
    assert len(s.recorded().steps) == len(recorded.steps)


def test_a_ladder_on_a_model_without_weights() -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(1, keepdim=True)

    s = ldam.Sampler(
        Sum(), layer="", input_shape=(6,), kernel=ldam.kernels.BAOAB(), regularizers=[ldam.L2(1)], ladder=(1, 2),
        **UNSCALED,
    )  # fmt: skip
    assert s.step(30).images.shape == (1, 1, 6)


@pytest.mark.statistical
def test_seconds_are_those_of_all_steps() -> None:
    """ESS a second after a change of kernel: the time before must not be lost while its steps are counted."""
    s = slow_start()
    s.step(200)
    before = s.recorded().seconds_per_step * 200
    s.use_kernel(ldam.kernels.ULA(0.1))
    s.step(10)
    assert s.recorded().seconds_per_step * 210 > before


@pytest.mark.parametrize(("confines", "law"), [(True, True), (False, False)])
def test_unbounded_pixels_have_a_law_only_where_a_term_confines_them(confines: bool, law: bool) -> None:
    """A mean brightness grows for ever: exp(E/T) cannot be normalised, whatever its weight."""

    class Brightness:
        name = "brightness"
        learned = False
        parameter = Parameter("brightness", 0.0, 10.0, 0.0, "Weight of the mean brightness.")
        weight = 5.0

        def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.flatten(1).mean(1), torch.full_like(x, 1 / x[0].numel())

    terms = [Brightness(), *([ldam.L2(0.1)] if confines else [])]
    s = ldam.Sampler(nn.Linear(4, 2), input_shape=(4,), kernel=ldam.kernels.BAOAB(0.1), regularizers=terms)
    assert s.has_law is law
    assert ("no law" in s.kernel_note) is not law
