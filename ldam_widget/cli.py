"""The command line: `ldam demo`, `ldam sample`, `ldam layers`, `ldam train`."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageOps
from torch import nn
from typer.core import TyperGroup

from . import demo as demos
from . import kernels
from ._version import __version__
from .adversary.rounds import TrainingError
from .checkpoints import load_checkpoint
from .core.target import Kernel
from .data.cifar import download_cifar
from .data.mnist import download_mnist
from .demo import prior
from .demo.cifar_fit import CifarRecipe
from .demo.cifar_train import train_cifar as fit_cifar
from .demo.fit import LeNetRecipe, one_thread
from .demo.judge import JudgeRecipe
from .demo.judge import train_judge as fit_judge
from .demo.train import TrainingResult
from .demo.train import train_lenet5 as fit_lenet5
from .network.trace import Preprocess
from .network.trace import layers as list_layers
from .objectives import Discriminator
from .parametrizations import Natural
from .pictures.display import AS_IT_IS, Display, axes_of, checked_bands, checked_contrast
from .pictures.export import KINDS, save_run
from .sampling.ladder import Ladder
from .sampling.sampler import Sampler, SamplingError


class _ReadableErrors(TyperGroup):
    """Shows our own errors without a traceback, since they are written for the user."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError, SamplingError, TrainingError, ImportError) as error:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_ReadableErrors, help="See what a neuron has really learned.", no_args_is_help=True, add_completion=False,
    rich_markup_mode=None,
)  # fmt: skip
train_app = typer.Typer(help="Train a network that comes with the package from scratch.", no_args_is_help=True)
app.add_typer(train_app, name="train")

ModelOption = Annotated[
    str,
    typer.Option(
        help="'mnist' (or mnist:epoch1, mnist:averaged), 'cifar' (or cifar:averaged), or 'package.module:name' or "
        "'file.py:name' of an nn.Module or of a function that makes one."
    ),
]
WeightsOption = Annotated[
    Path | None, typer.Option(help="State dict to load: .safetensors, or .pt (read without running any code).")
]
PreprocessOption = Annotated[
    str | None,
    typer.Option(
        help="From pixels to the model's input: imagenet; or mean,std; or r,g,b,r,g,b (means, then deviations)."
    ),
]
ShapeOption = Annotated[str | None, typer.Option(help="Shape of one image, e.g. 1,28,28; known for mnist and cifar.")]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where to put the notebooks.")] = Path("ldam-demo"),
    browser: Annotated[bool, typer.Option(help="Open a browser window if there is one.")] = True,
    port: Annotated[int, typer.Option(help="Port to try first.")] = 8888,
) -> None:
    """Open JupyterLab on the quick-start notebook; prints the address."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise ImportError('JupyterLab is not installed: pip install "ldam-widget[lab]"')
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in _notebooks():
        if not (folder / notebook.name).exists():  # keep the user's own changes
            shutil.copy(notebook, folder)
    command = [
        *(sys.executable, "-m", "jupyterlab", f"--notebook-dir={folder}", f"--port={port}"),
        "--LabApp.default_url=/lab/tree/quickstart.ipynb",
        # required when running as root, as in most containers
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *([] if browser else ["--no-browser"]),
    ]
    typer.echo(f"Notebooks are in {folder}/. Open the address below that ends in ?token=…, then run all cells.")
    raise typer.Exit(subprocess.call(command))


@app.command()
def layers(
    model: ModelOption = "mnist",
    weights: WeightsOption = None,
    input_shape: ShapeOption = None,
    preprocess: PreprocessOption = None,
) -> None:
    """List the layers that a forward pass runs, with the units to sample."""
    network, settings = _load(model, weights, input_shape)
    if preprocess is not None:
        settings["preprocess"] = _preprocess(preprocess)
    typer.echo(repr(list_layers(network, settings["input_shape"], settings.get("preprocess"))))


@app.command()
def sample(
    output: Annotated[Path, typer.Option("-o", "--output", help="grid.png, run.gif or samples.npz.")],
    model: ModelOption = "mnist",
    weights: WeightsOption = None,
    input_shape: ShapeOption = None,
    layer: Annotated[str | None, typer.Option(help="Dotted name; default: the last before any softmax.")] = None,
    neurons: Annotated[
        str | None,
        typer.Option(
            help="e.g. 0-9 or 3,5,7 or '5@3,4;6@3,4' or expressions, '3 - 5, 3 -> 5'; default: the first ten, or all."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    chains: Annotated[int, typer.Option(min=1, help="Chains per neuron.")] = 1,
    kernel: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(kernels.__all__)}; default: BAOAB, or the paper's Algorithm1 for mnist in pixels."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Of RegularisedAscent: A, B, C or D.")] = None,
    normalize: Annotated[str | None, typer.Option(help="Of Algorithm1: unit, none or rms.")] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="none, or frozen: gradients in units of their mean; default: frozen, none for Algorithm1."),
    ] = None,
    preprocess: PreprocessOption = None,
    prior: Annotated[
        str,
        typer.Option(
            help="auto, natural (of mnist and cifar: of their training images), pixels, or a file that Natural.save "
            "wrote; auto: natural for RGB images."
        ),
    ] = "auto",
    start: Annotated[
        str, typer.Option(help="Where chains start: noise, grey, or a picture, which is cropped and scaled to fit.")
    ] = "noise",
    goal: Annotated[
        float | None, typer.Option(help="Target mean activation of the chains; T is tuned to reach it.")
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="Replica exchange: temperature factors, e.g. 1,2,4,8; or auto, auto:12 (rungs) to find them."
        ),
    ] = None,
    mix: Annotated[str | None, typer.Option(help="Of Algorithm1: add, or convex (weight 1 ignores neurons).")] = None,
    discriminator: Annotated[
        Path | None,
        typer.Option(help="A file of train_discriminator; mnist and cifar have one. Set its weight with -p."),
    ] = None,
    pixel_range: Annotated[
        str | None, typer.Option(help="e.g. 0,1; default unbounded; known for mnist and cifar.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--set", help="A live parameter, e.g. -p step_size=0.05 -p l2=0.1.")
    ] = None,
    contrast: Annotated[
        str, typer.Option(help="'as it is', or stretched: each tile from its smallest to its largest value.")
    ] = AS_IT_IS,
    bands: Annotated[
        str | None, typer.Option(help="Of other than RGB images: the channel shown, or three, e.g. 3,2,1; from 0.")
    ] = None,
    slice_shown: Annotated[
        int | None, typer.Option("--slice", min=0, help="Of volumes, from 0; default: the middle.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default: cuda if available.")] = None,
    execution: Annotated[
        str,
        typer.Option(
            help="How the network is run. plain: the same seed gives the same file. auto: whichever way a short trial "
            "finds fastest; the choice, the rounding and hence the file may differ from run to run. Or a name that "
            "auto chose, as stored in samples.npz."
        ),
    ] = "plain",
) -> None:
    """Sample without a browser. The same seed gives the same file on the same machine, unless --execution auto."""
    if output.suffix not in KINDS:
        raise ValueError(f"-o {output}: the name must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if not output.parent.is_dir():
        raise ValueError(f"-o {output}: there is no folder {output.parent}")
    network, settings = _load(model, weights, input_shape)
    if pixel_range is not None:
        settings["pixel_range"] = _numbers("--pixel-range", pixel_range, float)
    if layer is not None:
        settings["layer"] = layer
    if preprocess is not None:
        settings["preprocess"] = _preprocess(preprocess)
    if discriminator is not None:
        settings["regularizers"] = [Discriminator(discriminator, 0.0)]
    background, chosen = _prior(prior, model), _kernel(kernel, preset, normalize, mix)
    if chosen is None and model.partition(":")[0] == "mnist" and not isinstance(background, Natural):
        chosen = kernels.Algorithm1()  # as in the paper's own pictures
    with one_thread():
        sampler = Sampler(
            network, neurons=None if neurons is None else _neurons(neurons), kernel=chosen,
            chains=chains, seed=seed, device=device, scale=scale, goal=goal, prior=background,  # type: ignore[arg-type]  # checked there
            start=_start(start, settings["input_shape"]),
            ladder=None if ladder is None else _ladder(ladder), execution=execution, **settings,
        )  # fmt: skip
        sampler.set(**_assignments(parameter or []))
        display = _display(contrast, bands, slice_shown, sampler.input_shape)
        save_run(sampler, steps, output, display=display, progress=sys.stderr.isatty())
    typer.echo(f"{output}: {len(sampler.neurons)} neurons of {sampler.layer}, {sampler.steps} steps")
    typer.echo(f"{sampler.kernel.name}: {sampler.kernel_note}; {sampler.diagnostics()['verdict']['text']}")


DataOption = Annotated[Path, typer.Option(help="Folder of the four MNIST idx .gz files.")]
DownloadOption = Annotated[bool, typer.Option(help="Fetch MNIST into the folder if it is not there.")]
OutOption = Annotated[Path, typer.Option(help="Folder for the weights.")]
EpochsOption = Annotated[int, typer.Option(min=1)]
SeedOption = Annotated[int, typer.Option(min=0)]


@train_app.command("lenet5")
def train_lenet5(
    data: DataOption,
    download: DownloadOption = False,
    out: OutOption = Path(),
    epochs: EpochsOption = LeNetRecipe.epochs,
    seed: SeedOption = LeNetRecipe.seed,
) -> None:
    """LeNet-5 on MNIST as in the paper: weights of epoch 1, of the last epoch, and their running average."""
    if download:
        download_mnist(data)
    _tell_accuracy(fit_lenet5(data, epochs=epochs, seed=seed, out=out))


@train_app.command("cifar")
def train_cifar(
    data: Annotated[Path, typer.Option(help="Folder of the binary version, or of pictures in class folders.")],
    download: Annotated[bool, typer.Option(help="Fetch the binary version if it is not there, 170 MB.")] = False,
    out: OutOption = Path(),
    epochs: EpochsOption = CifarRecipe.epochs,
    seed: SeedOption = CifarRecipe.seed,
) -> None:
    """A small VGG on CIFAR-10: weights of the last epoch and their running average; an hour on one core."""
    if download:
        download_cifar(data)
    _tell_accuracy(fit_cifar(data, epochs=epochs, seed=seed, out=out))


@train_app.command("judge")
def train_judge(
    data: DataOption,
    download: DownloadOption = False,
    out: OutOption = Path(),
    epochs: EpochsOption = JudgeRecipe.epochs,
    seed: SeedOption = JudgeRecipe.seed,
) -> None:
    """The judge of MNIST samples: another architecture, another seed, robust to shifts and pixel noise."""
    if download:
        download_mnist(data)
    _tell_accuracy(fit_judge(data, epochs=epochs, seed=seed, out=out))


@train_app.command("discriminator")
def train_discriminator(
    data: Annotated[Path, typer.Option(help="Folder of MNIST's idx .gz files, or of CIFAR-10 as for train cifar.")],
    network: Annotated[str, typer.Option(help="mnist or cifar.")] = "mnist",
    download: Annotated[bool, typer.Option(help="Fetch the images into the folder if they are not there.")] = False,
    out: OutOption = Path(),
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of Algorithm 2; default: as the shipped one, or as fit --minutes.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: the training ends in this time.")] = None,
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from what is in the folder.")] = False,
    execution: Annotated[
        str, typer.Option(help="How the classifier is run: auto, or plain, which repeats a training bit for bit.")
    ] = "auto",
) -> None:
    """A discriminator trained against the sampler on the shipped network (Algorithm 2); tells how long it takes."""
    if download and network in prior.SHIPPED:
        (download_mnist if network == "mnist" else download_cifar)(data)
    began = time.monotonic()
    net = prior.train_prior(
        data, network=network, rounds=rounds, minutes=minutes, seed=seed, out=out, resume=resume, execution=execution
    )
    took = (time.monotonic() - began) / 60
    typer.echo(f"wrote {out / prior.SHIPPED[network].file}: {net.card['rounds']:,} rounds, {took:.1f} minutes")


def _tell_accuracy(result: TrainingResult) -> None:
    for name, accuracy in result.accuracy.items():
        typer.echo(f"{name:10s} {accuracy:.2%} of the test images")


_IMAGENET = (0.485, 0.456, 0.406, 0.229, 0.224, 0.225)


def _preprocess(text: str) -> Preprocess:
    """x -> (x − mean)/std, for all channels or per channel."""
    numbers = _IMAGENET if text == "imagenet" else _numbers("--preprocess", text, float)
    half, wanted = len(numbers) // 2, f"--preprocess {text}: imagenet, or means and as many standard deviations"
    if not half or len(numbers) % 2 or not all(math.isfinite(n) for n in numbers):
        raise ValueError(f"{wanted}, finite numbers, e.g. 0.5,0.25")
    if not all(std > 0 for std in numbers[half:]):
        raise ValueError(f"{wanted} above 0, e.g. 0.5,0.25")
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (numbers[:half], numbers[half:]))
    return lambda x: (x - mean.to(x)) / std.to(x)


def _display(contrast: str, bands: str | None, number: int | None, shape: tuple[int, ...]) -> Display:
    """What is shown of images of this shape."""
    count, depth, *_ = axes_of(shape)
    if number is not None and number >= depth:
        raise ValueError(f"--slice {number}: the images have {depth} slice{'s' if depth > 1 else ''}, from 0")
    chosen = None if bands is None else checked_bands(_numbers("--bands", bands, int), count)
    return Display(checked_contrast(contrast), chosen, number)


def _prior(text: str, model: str) -> Natural | str:
    """The `prior` argument of `Sampler`, a file, or the training images' prior for a network of the package."""
    shipped = model.partition(":")[0]
    if text == "natural" and shipped in ("mnist", "cifar"):
        return demos.mnist().prior if shipped == "mnist" else demos.cifar().prior
    return text if text in ("auto", "natural", "pixels") else Natural.load(text)


def _start(text: str, shape: tuple[int, ...]) -> Any:
    """The `start` argument of `Sampler`, or a picture file as bytes (channels, height, width)."""
    if not Path(text).suffix:
        return text
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"--start {text}: images of shape {shape} cannot be read from a picture; use noise or grey")
    with Image.open(text) as picture:
        fitting = ImageOps.fit(picture.convert("L" if shape[0] == 1 else "RGB"), (shape[2], shape[1]))
    return torch.from_numpy(np.array(fitting)).view(shape[1], shape[2], shape[0]).permute(2, 0, 1)


def _kernel(name: str | None, preset: str | None, normalize: str | None, mix: str | None) -> Kernel | None:
    """The kernel with that name, in any case; None: the sampler's own choice."""
    if preset is not None:
        if name is not None and name.lower() != "regularisedascent":
            raise ValueError(f"--preset belongs to RegularisedAscent; {name} has none")
        return kernels.RegularisedAscent.preset(preset.upper())  # type: ignore[arg-type]  # checked there
    if name is None and (normalize or mix):
        name = "Algorithm1"  # the only one that has them
    if name is None:
        return None
    known = {each.lower(): getattr(kernels, each) for each in kernels.__all__}
    if name.lower() not in known:
        raise ValueError(f"--kernel {name}: unknown kernel; choose one of {', '.join(kernels.__all__)}")
    options = {key: value for key, value in {"normalize": normalize, "mix": mix}.items() if value is not None}
    if options and known[name.lower()] is not kernels.Algorithm1:
        raise ValueError(f"--{next(iter(options))} applies only to Algorithm1, not to {name}")
    kernel: Kernel = known[name.lower()](**options)
    return kernel


def _load(name: str, weights: Path | None, input_shape: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """The model, and the settings known for it."""
    shipped, _, state = name.partition(":")
    network: nn.Module
    if shipped == "mnist":
        digits = demos.mnist(state or "final")
        network = digits.model
        settings = dict(digits.settings) | {"regularizers": [Discriminator(digits.discriminator, 0.0)]}
    elif shipped == "cifar":
        photographs = demos.cifar(state or "final")
        network = photographs.model
        settings = dict(photographs.settings) | {"regularizers": [Discriminator(photographs.discriminator, 0.0)]}
    else:
        network, settings = _import(name), {}
        if input_shape is None:
            raise ValueError("--input-shape is needed, e.g. --input-shape 3,224,224")
    if input_shape is not None:
        settings["input_shape"] = _numbers("--input-shape", input_shape, int)
    return network if weights is None else load_checkpoint(network, weights), settings


def _import(name: str) -> nn.Module:
    where, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"--model {name}: give 'mnist', 'cifar', 'package.module:name' or 'file.py:name'")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None, "every .py file has one"
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(where)
        found = getattr(module, attribute)
        if not isinstance(found, nn.Module):
            found = found()
    except Exception as error:
        raise ValueError(f"--model {name}: {type(error).__name__}: {error}") from error
    if not isinstance(found, nn.Module):
        raise TypeError(
            f"--model {name}: expected an nn.Module or a function that makes one, got {type(found).__name__}"
        )
    return found


def _neurons(text: str) -> list[Any]:
    """ "0-9", "3,5,7", "5@3,4;6@3,4" -> list of neurons."""
    if "@" in text or ";" in text:
        return [part.strip() for part in text.split(";") if part.strip()]
    found: list[Any] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if dash and low.isdigit() and high.isdigit():
            found += range(int(low), int(high) + 1)
        elif part.strip():
            found.append(part.strip())
    return found


def _assignments(texts: list[str]) -> dict[str, float]:
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"-p {text}: write name=number, e.g. -p step_size=0.05")
    return values


def _numbers(option: str, text: str, kind: type) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{option} {text}: expected numbers separated by commas") from None


def _ladder(text: str) -> Ladder:
    if text == "auto":
        return Ladder.auto()
    if not text.startswith("auto:"):
        return Ladder(_numbers("--ladder", text, float))
    if not text[5:].isdecimal():
        raise ValueError(f"--ladder {text}: the number of rungs is wanted, e.g. auto:12")
    return Ladder.auto(int(text[5:]))


def _notebooks() -> Iterator[Path]:
    """The notebooks that come with the package, or are beside it in a source tree."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / "quickstart.ipynb").exists():
            yield from sorted(folder.glob("*.ipynb"))
            return
    raise OSError("the notebooks are missing from this installation; reinstall ldam-widget")
