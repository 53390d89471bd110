"""`ldam atlas build | status | export`: a group of commands."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from ..atlases import Atlas, atlas
from ..surveys import Survey
from .networks import network_of
from .values import kernel_of, numbers_of, preprocess_of, prior_of

app = typer.Typer(help="Render every unit of a network into a folder.", no_args_is_help=True)

_SETTINGS = ("input_shape", "preprocess", "pixel_range", "class_names")  # of a network, that matter here


@dataclass(frozen=True)
class NamedNetwork:
    """A function that makes the network of `--model`, in each worker."""

    name: str
    weights: Path | None
    input_shape: str | None

    @classmethod
    def found_from_anywhere(cls, name: str, weights: Path | None, input_shape: str | None) -> NamedNetwork:
        """With absolute paths, as workers may be in other folders."""
        where, colon, attribute = name.partition(":")
        if where.endswith(".py"):
            name = f"{Path(where).resolve()}{colon}{attribute}"
        return cls(name, None if weights is None else weights.resolve(), input_shape)

    def __call__(self) -> nn.Module:
        return network_of(self.name, self.weights, self.input_shape)[0]


@app.command()
def build(
    model: Annotated[
        str,
        typer.Argument(
            help="'mnist', 'cifar', or 'package.module:name' or 'file.py:name' of an nn.Module or of a function that "
            "makes one."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the atlas; the same command continues one that was stopped.")],
    weights: Annotated[Path | None, typer.Option(help="State dict to load: .safetensors, or .pt.")] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="Of an image, e.g. 3,224,224; known for mnist, cifar.")
    ] = None,
    preprocess: Annotated[str | None, typer.Option(help="imagenet; or mean,std; or means, then deviations.")] = None,
    pixel_range: Annotated[str | None, typer.Option(help="e.g. 0,1; default unbounded; mnist, cifar: known.")] = None,
    layers: Annotated[str, typer.Option(help="Dotted names, e.g. layer3,layer4; or all.")] = "all",
    steps: Annotated[int, typer.Option(min=1, help="Of each chain, after its warm-up.")] = 200,
    warm_up: Annotated[int | None, typer.Option(min=1, help="Steps; default: what the sampler needs.")] = None,
    chains: Annotated[int, typer.Option(min=1, help="For each unit.")] = 4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    kernel: Annotated[str | None, typer.Option(help="As of ldam sample; default: BAOAB.")] = None,
    prior: Annotated[
        str, typer.Option(help="auto, natural, pixels, or a file that Natural.save wrote; mnist, cifar: known.")
    ] = "auto",
    goal: Annotated[float | None, typer.Option(help="Target mean activation, the same for all units.")] = None,
    survey: Annotated[Path | None, typer.Option(help="Folder of ldam survey; adds percentiles, top images.")] = None,
    images: Annotated[Path | None, typer.Option(help="The pictures of the survey; adds crops.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; 0: this one; default: all CPUs.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each.")] = 1,
    batch: Annotated[int | None, typer.Option(min=1, help="Images in a forward pass; default: by their size.")] = None,
    tile: Annotated[int, typer.Option(min=8, help="Longest side of a picture in the atlas, in pixels.")] = 112,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, e.g. tcp://host:8786; its workers do the work.")
    ] = None,
    blocks: Annotated[str, typer.Option(help="i::n, every n-th block from the i-th on, for array jobs.")] = "0::1",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an atlas of another recipe.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default: cuda if available.")] = None,
) -> None:
    """Render every unit: samples, average, numbers. Stop it when you like; the same command continues.

    The folder is valid at any moment. Several commands may share one, and one machine or many. Exit code 2: some of the
    blocks could not be rendered; the others are there.
    """
    network, settings = network_of(model, weights, input_shape)
    if preprocess is not None:
        settings["preprocess"] = preprocess_of(preprocess, settings["input_shape"])
    if pixel_range is not None:
        settings["pixel_range"] = numbers_of("--pixel-range", pixel_range, float)
    chosen = {key: settings[key] for key in _SETTINGS if key in settings}
    engine: Any = "serial" if workers == 0 else "processes"
    if scheduler is not None:
        engine = _client(scheduler)
    try:
        made = atlas(
            NamedNetwork.found_from_anywhere(model, weights, input_shape),
            layers if layers == "all" else [name.strip() for name in layers.split(",")],
            out=out, steps=steps, warm_up=warm_up, chains=chains, seed=seed, kernel=kernel_of(kernel, None, None, None),
            prior=prior_of(prior, model, auto="natural"), goal=goal,  # type: ignore[arg-type]  # checked there
            survey=_survey(survey, images, network, chosen), engine=engine, workers=workers or None, threads=threads,
            batch=batch, tile=tile, part=part_of(blocks), overwrite=overwrite, device=device,
            progress=sys.stderr.isatty(), **chosen,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"stopped; {out} keeps what is done, and the same command continues", err=True)
        raise typer.Exit(130) from None
    typer.echo(made.status())
    left = missing_of(made, part_of(blocks))
    if left:
        raise ValueError(f"{left} of the blocks could not be rendered; the same command tries them again")


@app.command()
def status(
    path: Annotated[Path, typer.Argument(help="Folder of an atlas.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its hash.")] = False,
) -> None:
    """Tell what is done, what has failed and why, and how long the rest will take; reads the folder alone."""
    typer.echo(Atlas(path).status(verify=verify))


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="Folder of an atlas.")],
    out: Annotated[Path, typer.Argument(help="A new or empty folder for the page, or an earlier export.")],
    other: Annotated[
        Path | None, typer.Option(help="Another atlas with the same layers, e.g. of another checkpoint, side by side.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Of the atlas; once more for the other; default: their folders.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading; default: the model's class.")] = None,
    images: Annotated[
        bool, typer.Option(help="Copy pictures of the survey's images, which may be under a licence.")
    ] = True,
) -> None:
    """Write a page to browse an atlas with: a folder that any web server serves, without a kernel."""
    page = Atlas(path).export(out, other=other, names=name or None, title=title, top=images)
    typer.echo(f"wrote {page}; to look at it: python -m http.server -d {shlex.quote(str(out))}")


def part_of(text: str) -> tuple[int, int]:
    """ "3::8" -> (3, 8)."""
    match = re.fullmatch(r"(\d+)::(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ValueError(f"--blocks {text}: write i::n, every n-th block from the i-th on, e.g. 0::4 to 3::4 for four")
    return int(match[1]), int(match[2])


def missing_of(made: Atlas, part: tuple[int, int]) -> int:
    """How many blocks of a part are not there."""
    every = [(layer, block) for layer in made.layers.values() for block in range(layer.blocks)]
    there = {(block.layer.name, block.number) for layer in made.layers for block in made.blocks(layer)}
    return sum((layer.name, block) not in there for layer, block in every[part[0] :: part[1]])


def _survey(
    path: Path | None, images: Path | None, network: nn.Module, settings: dict[str, Any]
) -> Survey | Path | None:
    if images is None:
        return path
    if path is None:
        raise ValueError("--images belongs to --survey: give the folder that ldam survey has made of them")
    given = {key: settings[key] for key in ("preprocess", "pixel_range") if key in settings}
    return Survey.load(path, network, images.resolve(), **given)  # workers may be in other folders


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError('--scheduler needs Dask: pip install "ldam-widget[cluster]"') from error
    return Client(address, timeout=30)
