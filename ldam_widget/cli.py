"""The command line: `ldam demo | sample | layers | survey | embed | atlas | train`."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import kernels
from ._version import __version__
from .adversary.rounds import TrainingError
from .command_line import atlases
from .command_line.embedding import embed_to
from .command_line.networks import network_of
from .command_line.summary import as_json, summary_of
from .command_line.survey import merge_surveys, run_survey
from .command_line.values import (
    assignments_of,
    at_of,
    class_names_of,
    display_of,
    kernel_of,
    ladder_of,
    neurons_of,
    numbers_of,
    preprocess_of,
    prior_of,
    start_of,
)
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
from .engines import EngineError
from .network.trace import layers as list_layers
from .objectives import Discriminator
from .parametrizations import Natural
from .pictures.display import AS_IT_IS
from .pictures.export import KINDS, save_run
from .sampling.sampler import Sampler, SamplingError


class _ReadableErrors(TyperGroup):
    """Shows our own errors without a traceback, since they are written for the user."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError, SamplingError, TrainingError, EngineError, ImportError) as error:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_ReadableErrors, help="See what a neuron has really learned.", no_args_is_help=True, add_completion=False,
    rich_markup_mode=None, epilog="Exit codes: 0 done; 2 wrong usage, or a run that cannot go on, with a line on "
    "stderr that begins with 'error:' or 'Usage:'; 1 any other error, with a traceback; 130 interrupted.",
)  # fmt: skip
train_app = typer.Typer(help="Train a network that comes with the package from scratch.", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(atlases.app, name="atlas")

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
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe on Windows cannot encode every letter of a formula or a name
        sys.stdout.reconfigure(errors="backslashreplace")
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
    quick = str(Path(__file__).parent / "command_line")  # its jupyter_server_config.py
    settings = os.pathsep.join(filter(None, [quick, os.environ.get("JUPYTER_CONFIG_PATH")]))
    raise typer.Exit(subprocess.call(command, env=os.environ | {"JUPYTER_CONFIG_PATH": settings}))


@app.command()
def layers(
    model: ModelOption = "mnist",
    weights: WeightsOption = None,
    input_shape: ShapeOption = None,
    preprocess: PreprocessOption = None,
) -> None:
    """List the layers that a forward pass runs, with the units to sample."""
    network, settings = network_of(model, weights, input_shape)
    if preprocess is not None:
        settings["preprocess"] = preprocess_of(preprocess, settings["input_shape"])
    typer.echo(repr(list_layers(network, settings["input_shape"], settings.get("preprocess"))))


@app.command()
def sample(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="grid.png, run.gif or samples.npz.")],
    model: ModelOption = "mnist",
    weights: WeightsOption = None,
    input_shape: ShapeOption = None,
    layer: Annotated[
        str | None, typer.Option(help="Dotted name; default: what the model returns, before any softmax.")
    ] = None,
    neurons: Annotated[
        str | None,
        typer.Option(
            help="e.g. 0-9 or 3,5,7 or '5@3,4;6@3,4' or expressions, '3 - 5, 3 -> 5'; default: the first ten, or all."
        ),
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(
            help="A file of class names: one a line, or .json, a list or index -> name. Known for mnist, cifar."
        ),
    ] = None,
    at: Annotated[
        str, typer.Option(help="What a channel of a map means: its centre unit (center), or its mean (mean).")
    ] = "center",
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
    to_json: Annotated[
        bool, typer.Option("--json", help="Print diagnostics as JSON, for programs; all else goes to stderr.")
    ] = False,
) -> None:
    """Sample without a browser. The same seed gives the same file on the same machine, unless --execution auto."""
    stdout = sys.stdout
    if to_json:  # what a model prints must not mix with it
        context.with_resource(redirect_stdout(sys.stderr))
    if output.suffix not in KINDS:
        raise ValueError(f"-o {output}: the name must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if not output.parent.is_dir():
        raise ValueError(f"-o {output}: there is no folder {output.parent}")
    network, settings = network_of(model, weights, input_shape)
    if pixel_range is not None:
        settings["pixel_range"] = numbers_of("--pixel-range", pixel_range, float)
    if layer is not None:
        settings["layer"] = layer
    if class_names is not None:
        settings["class_names"] = class_names_of(class_names)
    if preprocess is not None:
        settings["preprocess"] = preprocess_of(preprocess, settings["input_shape"])
    if discriminator is not None:
        settings["regularizers"] = [Discriminator(discriminator, 0.0)]
    background, chosen = prior_of(prior, model), kernel_of(kernel, preset, normalize, mix)
    if chosen is None and model.partition(":")[0] == "mnist" and not isinstance(background, Natural):
        chosen = kernels.Algorithm1()  # as in the paper's own pictures
    with one_thread():
        sampler = Sampler(
            network, neurons=None if neurons is None else neurons_of(neurons), kernel=chosen,
            chains=chains, seed=seed, device=device, scale=scale, goal=goal, prior=background,  # type: ignore[arg-type]  # checked there
            start=start_of(start, settings["input_shape"]), at=at_of(at),
            ladder=None if ladder is None else ladder_of(ladder), execution=execution, **settings,
        )  # fmt: skip
        names = settings.get("class_names", ())
        if class_names is not None and layer is None and len(names) != sampler.units:
            raise ValueError(f"--class-names {class_names}: {len(names)} names for {sampler.units} units of the output")
        sampler.set(**assignments_of(parameter or []))
        display = display_of(contrast, bands, slice_shown, sampler.input_shape)
        save_run(sampler, steps, output, display=display, progress=sys.stderr.isatty())
    typer.echo(f"{output}: {len(sampler.neurons)} neurons of {sampler.layer}, {sampler.steps} steps")
    typer.echo(f"{sampler.kernel.name}: {sampler.kernel_note}; {sampler.diagnostics()['verdict']['text']}")
    if to_json:
        typer.echo(as_json(summary_of(sampler, seed=seed, files=[output])), file=stdout)


@app.command()
def embed(
    data: Annotated[
        Path, typer.Argument(help="Folder of MNIST's or CIFAR-10's files, or of pictures; sub-folders are classes.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="map.safetensors; the picture is map.png.")],
    model: ModelOption = "mnist",
    weights: WeightsOption = None,
    input_shape: ShapeOption = None,
    layer: Annotated[
        str | None, typer.Option(help="Dotted name; default: what the model returns, before any softmax.")
    ] = None,
    at: Annotated[str, typer.Option(help="Of feature maps: all their values, or their mean over positions.")] = "all",
    preprocess: PreprocessOption = None,
    split: Annotated[str, typer.Option(help="Of MNIST and CIFAR-10: train or test.")] = "train",
    perplexity: Annotated[float, typer.Option(help="Effective number of neighbours of each point.")] = 30.0,
    exaggeration: Annotated[float, typer.Option(help="1 is t-SNE; up to 4 draws clusters together.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1)] = 750,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the images' features for further maps.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default: cuda if available.")] = None,
) -> None:
    """Map images by what a layer makes of them (t-SNE). Ctrl-C ends the steps; the map is written as it then is."""
    network, settings = network_of(model, weights, input_shape)
    e = embed_to(
        output, data, network, settings, split=split, layer=layer, at=at, perplexity=perplexity,
        exaggeration=exaggeration, steps=steps, seed=seed, device=device, progress=sys.stderr.isatty(), cache=cache,
        preprocess=None if preprocess is None else preprocess_of(preprocess, settings["input_shape"]),
    )  # fmt: skip
    typer.echo(f"{output}, {output.with_suffix('.png').name}: {len(e):,} points, {e.settings['steps']} steps")
    typer.echo(f"KL {e.kl:.3f}; trustworthiness {e.trust:.3f}; {e.kept:.0%} of the nearest neighbours kept")


@app.command()
def survey(
    model: Annotated[str, typer.Argument(help="As --model of the other commands.")],
    images: Annotated[Path, typer.Argument(help="A folder of pictures; the folders in it are the classes.")],
    out: Annotated[Path, typer.Option(help="Folder for the survey; the same command continues one that was stopped.")],
    weights: WeightsOption = None,
    input_shape: ShapeOption = None,
    preprocess: PreprocessOption = None,
    pixel_range: Annotated[str | None, typer.Option(help="Of black and white; default 0,1.")] = None,
    layers: Annotated[str, typer.Option(help="Dotted names, e.g. layer3,layer4; or all.")] = "all",
    k: Annotated[int, typer.Option("-k", min=1, help="Images kept of each unit.")] = 9,
    fit: Annotated[str, typer.Option(help="How pictures get the input shape: crop or stretch.")] = "crop",
    batch: Annotated[int | None, typer.Option(min=1, help="Images in a forward pass; default: by their size.")] = None,
    part: Annotated[
        str | None, typer.Option(help="For one of several processes, e.g. 1/4 to 4/4; then merge-surveys.")
    ] = None,
    correlation: Annotated[bool, typer.Option(help="Correlate the units of each layer, up to 4,096.")] = True,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default: cuda if available.")] = None,
) -> None:
    """Survey every unit on a folder of pictures: top images, histograms, dead units. Ctrl-C keeps what is done."""
    network, settings = network_of(model, weights, input_shape)
    if preprocess is not None:
        settings["preprocess"] = preprocess_of(preprocess, settings["input_shape"])
    if pixel_range is not None:
        settings["pixel_range"] = numbers_of("--pixel-range", pixel_range, float)
    try:
        found = run_survey(
            network, images, out, settings, layers=layers, k=k, fit=fit, batch=batch, part=part,
            correlation=correlation, device=device, progress=sys.stderr.isatty(),
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"stopped; {out} keeps what is done, and the same command continues", err=True)
        raise typer.Exit(130) from None
    typer.echo(found)


@app.command("merge-surveys")
def merge_parts(
    parts: Annotated[list[Path], typer.Argument(help="Folders that survey --part has made, in any order.")],
    out: Annotated[Path, typer.Option(help="Folder for the whole.")],
) -> None:
    """Join surveys of parts of the pictures; to the same bytes as one survey of all."""
    typer.echo(merge_surveys(parts, out))


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


def _notebooks() -> Iterator[Path]:
    """The notebooks that come with the package, or are beside it in a source tree."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / "quickstart.ipynb").exists():
            yield from sorted(folder.glob("*.ipynb"))
            return
    raise OSError("the notebooks are missing from this installation; reinstall ldam-widget")
