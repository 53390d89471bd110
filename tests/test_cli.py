"""The command line, run as a user runs it: in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import ldam_widget
from ldam_widget.cli import app
from ldam_widget.command_line.values import class_names_of
from ldam_widget.kernels import Algorithm1
from ldam_widget.objectives.discriminator_file import save_discriminator

from .demo.toy_cifar import binary_files, write_files
from .demo.toy_mnist import toy_digits, write_split

MODEL = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
broken = 7
"""
SATELLITE = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1600, 5))
"""


def ldam(*arguments: object, folder: Path, ok: bool = True) -> str:
    """Run `ldam …`; returns what it printed on both channels."""
    result = subprocess.run(
        [sys.executable, "-m", "ldam_widget", *map(str, arguments)],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (result.returncode == 0) == ok, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    ask = ("sample", "--model", "mnist", "--layer", "fc3", "--neurons", "0-9", "--steps", "30", "-p", "l2=0.4")
    for name, seed in (("a.png", 0), ("b.png", 0), ("c.png", 1)):
        ldam(*ask, "--seed", seed, "-o", name, folder=tmp_path)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 10 * 28


def test_gif_and_npz(tmp_path: Path) -> None:
    ask = ("sample", "--neurons", "3,8", "--chains", "2", "--steps", "40", "--seed", "5")
    ldam(*ask, "-o", "run.gif", folder=tmp_path)
    with Image.open(tmp_path / "run.gif") as film:
        assert film.n_frames == 20
    ldam(*ask, "-o", "run.npz", folder=tmp_path)
    with np.load(tmp_path / "run.npz") as samples:
        assert samples["images"].shape == samples["average_images"].shape == (2, 2, 1, 28, 28)
        assert int(samples["steps"]) == 40
        assert list(samples["neurons"]) == ["3 three", "8 eight"]
        assert 0 <= samples["images"].min() < samples["images"].max() <= 1


def test_a_discriminator_pulls_as_in_python(tmp_path: Path) -> None:
    """The shipped one, and the same from a file; compared with a sampler built in Python."""
    shipped = ldam_widget.demo.mnist()
    save_discriminator(shipped.discriminator, tmp_path / "d.safetensors", {})
    ask = ("sample", "--neurons", "3", "--steps", "20", "--mix", "convex", "-p", "discriminator=0.8")
    ldam(*ask, "-o", "a.npz", folder=tmp_path)
    ldam(*ask, "--discriminator", "d.safetensors", "-o", "b.npz", folder=tmp_path)
    by_hand = ldam_widget.Sampler(
        shipped.model, neurons=[3], kernel=Algorithm1(mix="convex"),
        regularizers=[ldam_widget.Discriminator(shipped.discriminator, 0.8)], **shipped.settings,
    )  # fmt: skip
    by_hand.step(20)
    for name in ("a.npz", "b.npz"):
        with np.load(tmp_path / name) as samples:
            np.testing.assert_allclose(samples["images"], by_hand.images, atol=1e-4)
    said = ldam(*ask, "--discriminator", "none.safetensors", "-o", "c.npz", folder=tmp_path, ok=False)
    assert "no discriminator file none.safetensors" in said


def test_own_model_with_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    weight = torch.zeros(5, 48)
    weight[2] = 1.0  # unit 2 likes bright pixels and nothing else
    save_file({"1.weight": weight, "1.bias": torch.zeros(5)}, tmp_path / "w.safetensors")
    torch.save({"1.weight": weight, "1.bias": torch.zeros(5)}, tmp_path / "w.pt")
    ask = ("sample", "--model", "mine.py:make", "--input-shape", "3,4,4", "--pixel-range", "0,1", "--neurons", "2")
    for weights in ("w.safetensors", "w.pt"):
        ldam(*ask, "--weights", weights, "--steps", "300", "-o", "x.npz", folder=tmp_path)
        with np.load(tmp_path / "x.npz") as samples:
            assert samples["images"].mean() > 0.9
    text = ldam("layers", "--model", "mine:make", "--input-shape", "3,4,4", folder=tmp_path)
    assert re.search(r"1\s+Linear\s+5\s+5", text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "x.bmp"), [".png", ".gif", ".npz"]),
        (("-o", "no/x.png"), ["no folder"]),
        (("-o", "x.png", "--layer", "fc9"), ["fc9", "fc3"]),
        (("-o", "x.png", "--neurons", "0-12"), ["neuron 10", "0 to 9"]),
        (("-o", "x.png", "-p", "temprature=2"), ["temprature", "temperature"]),
        (("-o", "x.png", "-p", "momentum=2"), ["momentum", "0.99"]),
        (("-o", "x.png", "-p", "momentum"), ["name=number"]),
        (("-o", "x.png", "--model", "mnist:best"), ["best", "averaged"]),
        (("-o", "x.png", "--model", "cifar:epoch1"), ["epoch1", "averaged"]),
        (("-o", "x.png", "--model", "mine.py:make"), ["--input-shape"]),
        (("-o", "x.png", "--model", "mine.py:broken", "--input-shape", "3,4,4"), ["mine.py:broken"]),
        (("-o", "x.png", "--weights", "none.safetensors"), ["none.safetensors"]),
        (("-o", "x.png", "--normalize", "l2"), ["normalize", "unit"]),
        (("-o", "x.png", "--ladder", "auto:many"), ["auto:many", "auto:12"]),
        (("-o", "x.png", "--ladder", "1,a"), ["--ladder", "numbers"]),
        (("-o", "x.png", "--layer", "conv2", "--neurons", "0,3@2,2"), ["separate neurons by ';'", "0;3@2,2"]),
        (("-o", "x.png", "--neurons", "conv2:5@3,4, 7"), ["separate neurons by ';'", "conv2:5@3,4;7"]),
        (("-o", "x.png", "--at", "middle"), ["--at middle", "center", "mean"]),
        (("-o", "x.png", "--preprocess", "imagenet"), ["--preprocess imagenet", "3 channels", "(1, 28, 28)"]),
        (("-o", "x.png", "--preprocess", "0.5"), ["--preprocess 0.5", "as many standard deviations"]),
        (("-o", "x.png", "--class-names", "none.txt"), ["none.txt"]),
        (("-o", "x.png", "--class-names", "mine.py"), ["--class-names mine.py", "10 units"]),
    ],
)
def test_mistakes_are_reported_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sample", "--steps", "2", *arguments])  # in this process: many, and quick
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    for word in words:
        assert word in result.output
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "ant\nbee\ncat\ndog\n"),
        ("names.txt", "\ufeffant\r\nbee\r\ncat\r\n  dog  \r\n\r\n"),
        ("names.json", '["ant", "bee", "cat", "dog"]'),
        ("names.json", '{"1": "bee", "0": "ant", "3": "dog", "2": "cat"}'),
        ("names.json", '{"dog": 3, "ant": 0, "bee": 1, "cat": 2}'),
        ("names.json", '{"0": ["n01", "ant"], "1": ["n02", "bee"], "2": ["n03", "cat"], "3": ["n04", "dog"]}'),
    ],
)
def test_class_names(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert class_names_of(tmp_path / name) == ["ant", "bee", "cat", "dog"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"), ("[1, 2]", "a list of names"), ("3", "a list of names"), ("[]", "a list of names"),
        ('{"0": "a", "2": "b"}', "1 is missing"), ('{"a": "b"}', "0 is missing"), ("[" * 100_000, "not JSON"),
        ("{}", "a list of names"), ('{"0": []}', "a list of names"),
    ],
)  # fmt: skip
def test_class_names_that_are_none(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=rf"--class-names .*x\.json: .*{words}"):
        class_names_of(tmp_path / "x.json")
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        class_names_of(tmp_path / "x.txt")


SMALL = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 4))
"""


def in_process(*arguments: str) -> str:
    """Run `ldam sample …` in this process, which is quick, and returns what it printed."""
    result = CliRunner().invoke(app, ["sample", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "neurons"),
    [
        (("--model", "mine.py:make", "--input-shape", "3,4,4"), 4),
        (("--model", "mine.py:make", "--input-shape", "3,4,4", "--layer", "0"), 2),
        (("--model", "mnist", "--layer", "conv1"), 6),
        (("--model", "mnist", "--layer", "fc1"), 10),
    ],
)
def test_all_defaults_suit_every_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], neurons: int
) -> None:
    (tmp_path / "mine.py").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    for name, steps in (("x.npz", "4"), ("x.gif", "1"), ("x.png", "1")):  # from the shortest run on
        in_process("-o", name, "--steps", steps, *arguments)
        assert (tmp_path / name).stat().st_size > 0
    with np.load("x.npz") as samples:
        assert samples["images"].shape[0] == neurons
        assert [name.split("@")[0].split()[0] for name in samples["neurons"]] == [str(i) for i in range(neurons)]


def test_class_names_and_means_of_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(SMALL)
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog")
    monkeypatch.chdir(tmp_path)
    model = ("--model", "mine.py:make", "--input-shape", "3,4,4", "--steps", "2", "-o", "x.npz")
    in_process(*model, "--class-names", "names.txt", "--neurons", "dog,ant")
    assert np.load("x.npz")["neurons"].tolist() == ["3 dog", "0 ant"]
    in_process(*model, "--layer", "0", "--at", "mean")
    mean = np.load("x.npz")["activation"]
    in_process(*model, "--layer", "0")
    assert not np.array_equal(np.load("x.npz")["activation"], mean)


def test_the_network_is_run_as_written_unless_it_is_asked_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is large enough for a trial: the file is that of `execution="plain"`, to the last bit."""
    (tmp_path / "mine.py").write_text(BATCH_NORMS)
    monkeypatch.chdir(tmp_path)
    ask = (
        "--model",
        "mine.py:make",
        "--input-shape",
        "3,32,32",
        "--steps",
        "6",
        "--neurons",
        "1,2",
        "--pixel-range",
        "0,1",
    )
    in_process(*ask, "-o", "a.npz")
    in_process(*ask, "--execution", "batch norms folded, channels last", "-o", "b.npz")
    scope: dict[str, Any] = {}
    exec(BATCH_NORMS, scope)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        by_hand = ldam_widget.Sampler(
            scope["make"](), input_shape=(3, 32, 32), neurons=[1, 2], pixel_range=(0, 1), execution="plain"
        )
        by_hand.step(6)
    finally:
        torch.set_num_threads(threads)
    with np.load("a.npz") as plain, np.load("b.npz") as folded:
        assert (plain["execution"], folded["execution"]) == ("plain", "batch norms folded, channels last")
        np.testing.assert_array_equal(plain["images"], by_hand.images.numpy())
        assert not np.array_equal(plain["images"], folded["images"]), "the control: ways differ in bits"
    assert "execution must be one of 'auto', 'plain'" in ldam(
        "sample", *ask, "--execution", "fast", "-o", "c.npz", folder=tmp_path, ok=False
    )


BATCH_NORMS = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 32 * 32, 5),
    )
    net(torch.randn(64, 3, 32, 32))
    return net.eval()
"""


def test_weights_that_hold_code_are_not_loaded(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"conv1.weight": Hostile()}, tmp_path / "w.pt")
    text = ldam("sample", "--weights", "w.pt", "-o", "x.png", folder=tmp_path, ok=False)
    assert "w.pt" in text
    assert not (tmp_path / "owned").exists()


def test_train_then_sample(tmp_path: Path) -> None:
    for split, count in (("train", 300), ("test", 50)):
        write_split(tmp_path / "data", split, *toy_digits(count, seed=count))
    text = ldam("train", "lenet5", "--data", "data", "--epochs", "1", "--out", "out", folder=tmp_path)
    assert "final" in text
    ldam("sample", "--weights", "out/lenet5_final.safetensors", "--steps", "4", "-o", "x.png", folder=tmp_path)


def test_train_cifar_then_sample(tmp_path: Path) -> None:
    write_files(tmp_path / "data", binary_files(40, 20))
    text = ldam("train", "cifar", "--data", "data", "--epochs", "1", "--out", "out", folder=tmp_path)
    assert re.search(r"final +\d+\.\d\d% of the test images\naveraged +\d", text)
    ask = ("sample", "--model", "cifar", "--layer", "conv3", "--neurons", "95", "--steps", "4")
    ldam(*ask, "--weights", "out/cifar_averaged.safetensors", "-o", "own.npz", folder=tmp_path)
    ldam(*ask, "-o", "shipped.npz", folder=tmp_path)
    with np.load(tmp_path / "own.npz") as own, np.load(tmp_path / "shipped.npz") as shipped:
        assert own["images"].shape == shipped["images"].shape == (1, 1, 3, 32, 32)
        assert not np.array_equal(own["images"], shipped["images"])


def test_train_a_discriminator_in_a_budget(tmp_path: Path) -> None:
    write_files(tmp_path / "data", binary_files(80, 20))
    ask = ("train", "discriminator", "--network", "cifar", "--data", "data", "--execution", "plain", "--minutes", "0.1")
    said = ldam(*ask, "--rounds", "1", folder=tmp_path, ok=False)
    assert "the discriminator collapsed" in said  # after a single round, which is kept
    assert (tmp_path / "cifar_discriminator.safetensors.training").exists()
    assert "minutes must be a finite number > 0" in ldam(*ask[:-1], "0", folder=tmp_path, ok=False)
    assert "there is 'mnist', 'cifar'" in ldam(
        "train", "discriminator", "--network", "x", "--data", "data", folder=tmp_path, ok=False
    )


@pytest.mark.parametrize("network", ["lenet5", "cifar", "discriminator"])
def test_train_without_data_says_what_to_do(network: str, tmp_path: Path) -> None:
    assert "--download" in ldam("train", network, "--data", "nowhere", folder=tmp_path, ok=False)


@pytest.mark.kernel
def test_demo_serves_the_quick_start(tmp_path: Path) -> None:
    """The address is printed, answers, and the notebooks are there."""
    import urllib.error
    import urllib.request

    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "ldam_widget", "demo", "--no-browser", "--port", "0"],
        cwd=tmp_path,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path)},
    )
    try:
        status = None
        deadline = time.monotonic() + 90
        # Jupyter may print the address a moment before it listens.
        while status is None and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.3)
            text = (tmp_path / "log").read_text()
            address = re.search(r"http://127\.0\.0\.1:\d+/lab/tree/quickstart\.ipynb\?token=\w+", text)
            if address is not None:
                with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(address[0]) as page:
                    status = page.status
                    assert b"comm_msg" in page.read(), "the settings that make widgets faster are used"
        assert status == 200, (tmp_path / "log").read_text()
        assert (tmp_path / "ldam-demo" / "quickstart.ipynb").exists()
        assert (tmp_path / "ldam-demo" / "tweak_inline.ipynb").exists()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        log.close()


COLOUR = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(784, 5))
"""


def test_preprocess_prior_ladder_and_goal_as_in_python(tmp_path: Path) -> None:
    """The picture of the command line is that of a sampler built in Python."""
    (tmp_path / "mine.py").write_text(COLOUR, encoding="utf-8")
    ask = ("sample", "--model", "mine.py:make", "--input-shape", "3,16,16", "--neurons", "0-1", "--steps", "12")
    ask = (*ask, "--pixel-range", "0,1", "--preprocess", "imagenet")
    printed = ldam(*ask, "-o", "a.npz", folder=tmp_path)
    assert "p(z) ∝ N(z; 0, " in printed
    scope: dict[str, Any] = {}
    exec(COLOUR, scope)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    by_hand = ldam_widget.Sampler(
        scope["make"](), input_shape=(3, 16, 16), neurons=[0, 1], pixel_range=(0, 1),
        preprocess=lambda x: (x - mean) / std,
    )  # fmt: skip
    by_hand.step(12)
    with np.load(tmp_path / "a.npz") as samples:
        np.testing.assert_allclose(samples["images"], by_hand.images.numpy(), atol=1e-4)
    printed = ldam(*ask, "--prior", "pixels", "-o", "b.npz", folder=tmp_path)
    assert "BAOAB" in printed
    ldam(*ask, "--ladder", "auto:3", "-o", "d.npz", folder=tmp_path)
    on_a_ladder = ldam_widget.Sampler(
        scope["make"](), input_shape=(3, 16, 16), neurons=[0, 1], pixel_range=(0, 1),
        preprocess=lambda x: (x - mean) / std, ladder=ldam_widget.Ladder.auto(3),
    )  # fmt: skip
    on_a_ladder.step(12)
    with np.load(tmp_path / "d.npz") as samples:
        np.testing.assert_allclose(samples["images"], on_a_ladder.images.numpy(), atol=1e-4)
    images = torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ldam_widget.Natural.of(images).save(tmp_path / "own.safetensors")
    ldam(*ask, "--prior", "own.safetensors", "--goal", "0.3", "-o", "c.npz", folder=tmp_path)
    with np.load(tmp_path / "c.npz") as samples:
        assert float(samples["param_goal"]) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preprocess", "0.5"), "--preprocess 0.5: imagenet, or means and as many standard deviations"),
        (("--preprocess", "0.5,0"), "deviations above 0"),
        (("--preprocess", "nan,1"), "finite numbers"),
        (("--prior", "nowhere.safetensors"), "there is no file nowhere.safetensors"),
    ],
)
def test_bad_priors_and_preprocessing_are_reported(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in ldam("sample", "-o", "a.png", *arguments, folder=tmp_path, ok=False)


def test_files_show_what_is_asked_for(tmp_path: Path) -> None:
    """Contrast of each tile, bands and slices, as in Python."""
    (tmp_path / "nets.py").write_text(SATELLITE)
    ask = ("sample", "--model", "nets.py:make", "--pixel-range", "0,1", "--steps", "4", "--neurons", "0,1")
    bands, volume = ("--input-shape", "4,20,20"), ("--input-shape", "1,4,20,20")

    def picture(*more: str) -> np.ndarray[Any, Any]:
        ldam(*ask, *more, "-o", "a.png", folder=tmp_path)
        with Image.open(tmp_path / "a.png") as page:
            return np.asarray(page.convert("RGB"))[40:]  # without the names

    grey = picture(*bands)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert not np.array_equal(grey, picture(*bands, "--bands", "2"))
    colours = picture(*bands, "--bands", "3,2,1")
    assert (colours[..., 0] != colours[..., 1]).any()
    assert not np.array_equal(grey, picture(*bands, "--contrast", "stretched"))
    assert not np.array_equal(picture(*volume, "--slice", "0"), picture(*volume))
    np.testing.assert_array_equal(picture(*volume, "--slice", "2"), picture(*volume))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--contrast", "loud"), "contrast must be 'as it is' or 'stretched'; got 'loud'"),
        (("--bands", "1"), "bands must be one channel or three, each between 0 and 0"),
        (("--bands", "red"), "--bands red: expected numbers separated by commas"),
        (("--slice", "1"), "--slice 1: the images have 1 slice, from 0"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_sampling(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in ldam("sample", "-o", "a.png", "--steps", "100000000", *arguments, folder=tmp_path, ok=False)


def test_the_natural_prior_of_a_shipped_network_is_that_of_its_training_images(tmp_path: Path) -> None:
    ldam("sample", "--model", "mnist", "--prior", "natural", "--steps", "12", "-o", "a.npz", folder=tmp_path)
    demo = ldam_widget.demo.mnist()
    critic = ldam_widget.Discriminator(demo.discriminator, 0.0)
    by_hand = ldam_widget.Sampler(
        demo.model, neurons=range(10), prior=demo.prior, regularizers=[critic], **demo.settings
    )
    by_hand.step(12)
    with np.load(tmp_path / "a.npz") as samples:
        np.testing.assert_allclose(samples["images"], by_hand.images.numpy(), atol=1e-4)


def test_digits_in_pixels_are_drawn_by_the_procedure_of_the_paper(tmp_path: Path) -> None:
    """Unless another kernel is named; other networks have the sampler's defaults."""
    demo = ldam_widget.demo.mnist()
    critic = ldam_widget.Discriminator(demo.discriminator, 0.0)
    by_hand = ldam_widget.Sampler(
        demo.model, neurons=[3], kernel=ldam_widget.kernels.Algorithm1(), regularizers=[critic], **demo.settings
    )
    by_hand.step(12)
    file = tmp_path / "a.npz"
    ask = ("--model", "mnist", "--neurons", "3", "--steps", "12", "-o", str(file))
    assert "Algorithm 1" in in_process(*ask)
    with np.load(file) as samples:
        np.testing.assert_allclose(samples["images"], by_hand.images.numpy(), atol=1e-4)
    assert "BAOAB: samples" in in_process(*ask, "--kernel", "baoab")


def test_starts_and_presets_as_in_python(tmp_path: Path) -> None:
    """A picture is read, and one of another size or colour is made to fit; a preset brings its kernel."""
    levels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(levels).save(tmp_path / "digit.png")
    Image.fromarray(np.stack([levels.repeat(2, 0)] * 3, 2)).save(tmp_path / "tall.png")
    demo, kind = ldam_widget.demo.mnist(), ldam_widget.kernels.RegularisedAscent
    ask = ("sample", "--neurons", "3", "--steps", "5", "-o", "a.npz", "--preset", "d", "--start")
    for start, given in (("grey", "grey"), ("digit.png", torch.from_numpy(levels)[None])):
        assert "RegularisedAscent: an optimiser" in ldam(*ask, start, folder=tmp_path)
        by_hand = ldam_widget.Sampler(
            demo.model, neurons=[3], kernel=kind.preset("D"), start=given, execution="plain", **demo.settings
        )
        by_hand.step(5)
        with np.load(tmp_path / "a.npz") as samples:
            np.testing.assert_allclose(samples["images"], by_hand.images.numpy(), atol=1e-4)
    assert "RegularisedAscent" in ldam(
        *ask[:-3], "--kernel", "regularisedascent", "--start", "tall.png", folder=tmp_path
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--start", "gray"), "start must be 'noise', 'grey', 'data' or a picture; got 'gray'"),
        (("--start", "data"), "give dataset="),
        (("--start", "none.png"), "none.png"),
        (("--preset", "x"), "preset must be one of 'A', 'B', 'C', 'D'; got 'X'"),
        (("--preset", "A", "--kernel", "BAOAB"), "--preset belongs to RegularisedAscent; BAOAB has none"),
        (("--preset", "A", "--mix", "convex"), "--mix applies only to Algorithm1, and --preset to RegularisedAscent"),
    ],
)
def test_bad_starts_and_presets_are_reported(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in ldam("sample", "-o", "a.png", *arguments, folder=tmp_path, ok=False)
