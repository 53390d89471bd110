"""Can the pictures be read? Ours beside those of other tools: same network, same neurons, same budget of gradients.

For every tool, run with its own defaults: the share of pictures whose class a network recognises that had no part in
making them; the activation of the picture as it is shown, over that of the strongest of the real images (median over
classes); how many images went through the network for a picture; and seconds.

    python benchmarks/readable.py --data DIR                     both networks, table and sheets of pictures
    python benchmarks/readable.py --data DIR --networks cifar --steps 100

DIR (or LDAM_DATA) holds `models.py`, `weights/`, `images/` and `labels/`. A tool that is not installed, or that
fails, is named with the reason.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import io
import json
import os
import statistics
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from shims import opencv_in_name, roi_align_by_sampling, torchvision_without_its_operators
from torch import Tensor, nn

import ldam_widget as ldam

ROOT = Path(__file__).parent.parent
EASY = [1, 8, 71, 145, 301, 339, 340, 404, 437, 483, 779, 920, 949, 963, 980, 985]  # things that a person can name
EVEN = list(range(31, 1000, 62))  # nobody's choice
Preprocess = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Judge:
    name: str
    model: nn.Module
    preprocess: Preprocess
    side: int

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """Of pictures in 0…1 of any size."""
        if pictures.shape[-1] != self.side:
            pictures = F.interpolate(pictures, (self.side, self.side), mode="bilinear", antialias=True)
        return torch.cat([self.model(self.preprocess(part)) for part in pictures.split(8)])

    def recognised(self, pictures: Tensor, classes: list[int], first: int) -> float:
        best = self.logits(pictures).topk(first, 1).indices
        return float((best == torch.tensor(classes)[:, None]).any(1).float().mean())


@dataclass(frozen=True)
class Problem:
    title: str
    sampled: Judge
    layer: str
    classes: list[int]
    copies: int  # pictures of each
    names: list[str]  # of the classes
    judges: list[Judge]
    within: tuple[int, ...]  # first, within the first five, …
    strongest: Tensor  # (class,), of the real images

    @property
    def wanted(self) -> list[int]:
        """The class of each picture."""
        return [unit for unit in self.classes for _ in range(self.copies)]


@dataclass(frozen=True)
class Made:
    """Pictures (class · copy, 3, side, side) in 0…1, and what one took."""

    pictures: Tensor
    gradients: int
    note: str = ""


Tool = Callable[[Problem, int], dict[str, Made]]


# ---- tools -----------------------------------------------------------------------------------------------------------


def ours(problem: Problem, steps: int) -> dict[str, Made]:
    """A sampler with nothing set but the number of chains: the average over its pictures, and its last one."""
    net = problem.sampled
    sampler = ldam.Sampler(
        net.model, input_shape=(3, net.side, net.side), neurons=problem.classes, chains=problem.copies,
        pixel_range=(0, 1), preprocess=net.preprocess,
    )  # fmt: skip
    frame = sampler.step(steps)
    return {
        "**ours**, averages": Made(frame.average_images.flatten(0, 1), steps),
        "ours, samples": Made(frame.images.flatten(0, 1), steps),
    }


def lucent(problem: Problem, steps: int, *, pixels: bool) -> Made:
    """Its loop with its defaults; or with the pixels as parameters and no transforms."""
    from lucent.optvis import objectives, param, render

    net = problem.sampled
    side = 128 if net.side >= 128 and not pixels else net.side
    shown = []
    for unit in problem.wanted:
        frames = render.render_vis(
            net.model, objectives.channel(problem.layer, unit),
            functools.partial(param.image, side, fft=not pixels, decorrelate=not pixels),
            transforms=[] if pixels else None, fixed_image_size=None if net.side >= 224 else net.side,
            thresholds=(steps,), show_image=False, progress=False,
        )  # fmt: skip
        for module in net.model.modules():  # it leaves its hooks behind
            module._forward_hooks.clear()
        shown.append(torch.from_numpy(frames[0]).permute(0, 3, 1, 2))
    return Made(torch.cat(shown), steps)


def torch_dreams(problem: Problem, steps: int) -> Made:
    from torch_dreams import Dreamer

    net = problem.sampled
    dreamer = Dreamer(net.model, quiet=True, device="cpu")
    shown = []
    for unit in problem.wanted:

        def loss(outputs: list[Tensor], unit: int = unit) -> Tensor:
            return -outputs[0][:, unit].mean()

        image = dreamer.render(
            [net.model.get_submodule(problem.layer)], width=net.side, height=net.side, iters=steps, custom_func=loss
        )
        shown.append(image.to_chw_tensor())
    return Made(torch.stack(shown), steps)


def horama_maco(problem: Problem, steps: int) -> Made:
    """Six crops a step; the spectrum, which it fetches from the net, is that of photographs where it cannot."""
    roi_align_by_sampling()
    import horama
    from horama import maco_fv

    net = problem.sampled
    maco_fv.tqdm = iter  # no progress bars between the rows of the table
    note = ""
    if not Path(maco_fv.MACO_SPECTRUM_FILENAME).is_file():
        note = "1/f as its spectrum, since its own could not be fetched"
        maco_fv.init_maco_buffer = _one_over_f
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    crops = 6
    shown = []
    for unit in problem.wanted:
        image, _ = horama.maco(
            lambda x, unit=unit: net.model(x)[:, unit].mean(), total_steps=steps // crops, device="cpu",
            image_size=6 * net.side, model_input_size=net.side, crops_per_iteration=crops,
        )  # fmt: skip
        shown.append((image.detach() * std + mean).clamp(0, 1))
    small = F.interpolate(torch.stack(shown), (2 * net.side,) * 2, mode="bilinear", antialias=True)
    return Made(small, steps, note)


def _one_over_f(image_shape: tuple[int, int], std_deviation: float = 1.0) -> tuple[Tensor, Tensor]:
    """As its own function, but for the file: it is standardised, so that only its shape counts."""
    height, width = image_shape
    rows, columns = torch.fft.fftfreq(height)[:, None] * height, torch.fft.rfftfreq(height)[None] * height
    magnitude = 1 / torch.hypot(rows, columns).clamp_min(1)
    return magnitude.expand(3, -1, -1).clone(), torch.randn(3, height, width // 2 + 1) * std_deviation


TOOLS: dict[str, Tool] = {
    "ours": ours,
    "lucent": lambda p, n: {"lucent, its defaults": lucent(p, n, pixels=False)},
    "lucent, pixels": lambda p, n: {"lucent, pixels": lucent(p, n, pixels=True)},
    "torch-dreams": lambda p, n: {"torch-dreams, its defaults": torch_dreams(p, n)},
    "Horama": lambda p, n: {"Horama, MACO": horama_maco(p, n)},
}


# ---- networks --------------------------------------------------------------------------------------------------------


def read_models(data: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party_models", data / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    return models


def network(data: Path, name: str, model: Any, weights: str, side: int) -> Judge:
    state = torch.load(data / "weights" / weights, map_location="cpu", weights_only=True)
    state = {key.removeprefix("module."): value for key, value in state.get("state_dict", state).items()}
    found = model.load_state_dict(state, strict=False)
    if found.unexpected_keys or not all(key.endswith("num_batches_tracked") for key in found.missing_keys):
        raise RuntimeError(f"{weights} does not fit: {found}")
    model = model.float().eval().requires_grad_(False)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.mean, model.std))
    return Judge(name, model, lambda x: (x - mean) / std, side)


def cifar(data: Path, classes: list[int]) -> Problem:
    models = read_models(data)
    net = network(data, "ResNet-20", models.CifarResNet(20), "cifar10/resnet20.pt", 32)
    judge = network(data, "ResNet-8", models.TinyResNet8(), "cifar10/resnet8_mlperf_tiny.pt", 32)
    with np.load(data / "cifar10" / "cifar10_lossless_5k.npz") as arrays:
        pixels = next(array for name, array in arrays.items() if array.ndim == 4 and "test" in name)
    real = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    names = json.loads((data / "labels" / "cifar10.json").read_text())
    ten = list(range(10))
    return Problem(
        "ResNet-20, CIFAR-10, 32×32, ten classes, four pictures each",
        net,
        "linear",
        ten,
        4,
        names,
        [judge],
        (1,),
        strongest(net, [real], ten),
    )


def imagenet(data: Path, classes: list[int]) -> Problem:
    models = read_models(data)
    net = network(data, "ResNet-18", models.ResNet(18), "imagenet/resnet18_fp16.pt", 224)
    mobile = network(data, "MobileNetV2", models.MobileNetV2(), "imagenet/mobilenet_v2_fp16.pt", 224)
    squeeze = network(data, "SqueezeNet", models.SqueezeNet(), "imagenet/squeezenet1_0.pt", 227)
    return _imagenet(data, net, "fc", [mobile, squeeze], classes)


def mobilenet(data: Path, classes: list[int]) -> Problem:
    """The other way round."""
    models = read_models(data)
    net = network(data, "MobileNetV2", models.MobileNetV2(), "imagenet/mobilenet_v2_fp16.pt", 224)
    resnet = network(data, "ResNet-18", models.ResNet(18), "imagenet/resnet18_fp16.pt", 224)
    squeeze = network(data, "SqueezeNet", models.SqueezeNet(), "imagenet/squeezenet1_0.pt", 227)
    return _imagenet(data, net, "classifier", [resnet, squeeze], classes)


def _imagenet(data: Path, net: Judge, layer: str, judges: list[Judge], classes: list[int]) -> Problem:
    index = json.loads((data / "labels" / "imagenet_class_index.json").read_text())
    names = [index[str(i)][1].replace("_", " ") for i in classes]
    title = f"{net.name}, ImageNet, 224×224, {len(classes)} classes"
    with zipfile.ZipFile(data / "images" / "imagenet_sample_200.zip") as archive:
        files = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        real = (centre(archive.read(name), 224)[None] for name in files)
        best = strongest(net, real, classes)
    return Problem(title, net, layer, classes, 1, names, judges, (1, 5), best)


def centre(jpeg: bytes, size: int) -> Tensor:
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def strongest(net: Judge, batches: Iterable[Tensor], classes: list[int]) -> Tensor:
    """(class,): the largest activation among real images."""
    return torch.stack([net.logits(batch)[:, classes].amax(0) for batch in batches]).amax(0)


PROBLEMS: dict[str, Callable[[Path, list[int]], Problem]] = {
    "cifar": cifar, "imagenet": imagenet, "mobilenet": mobilenet,
}  # fmt: skip


# ---- tables and sheets -----------------------------------------------------------------------------------------------


def measure(problem: Problem, steps: int, tools: list[str], sheet: Path) -> None:
    judged = [f"{j.name}{'' if k == 1 else f', within {k}'}" for j in problem.judges for k in problem.within]
    print(f"\n**{problem.title}**, {steps} gradients a picture; recognised by\n")
    print(f"| | {' | '.join(judged)} | activation ÷ strongest real | gradients | s a picture | |")
    print(f"|---|{'---|' * len(judged)}---|---|---|---|")
    rows: list[tuple[str, Tensor]] = []
    for tool in tools:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  (what the other tools draw from)
        began = time.perf_counter()
        try:
            made = TOOLS[tool](problem, steps)
        except Exception as error:
            print(f"| {tool} | not measured: {type(error).__name__}: {str(error)[:200]} |")
            continue
        seconds = (time.perf_counter() - began) / len(problem.wanted)
        for name, result in made.items():
            shares = [j.recognised(result.pictures, problem.wanted, k) for j in problem.judges for k in problem.within]
            reached = problem.sampled.logits(result.pictures)[range(len(problem.wanted)), problem.wanted]
            bar = problem.strongest.repeat_interleave(problem.copies)
            ratio = statistics.median((reached / bar).tolist())
            print(
                f"| {name} | {' | '.join(f'{share:.2f}' for share in shares)} | {ratio:.1f} | {result.gradients} "
                f"| {seconds:.1f} | {result.note} |",
                flush=True,
            )
            rows.append((name.replace("*", ""), result.pictures[:: problem.copies]))
        draw(rows, problem.names, sheet)


def draw(rows: list[tuple[str, Tensor]], names: list[str], path: Path, side: int = 96) -> None:
    """A row a tool, a column a class."""
    margin, head = 170, 18
    sheet = Image.new("RGB", (margin + len(names) * (side + 2), head + len(rows) * (side + 2)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        pen.text((margin + column * (side + 2), 3), name[:15], fill="black")
    for row, (tool, pictures) in enumerate(rows):
        top = head + row * (side + 2)
        pen.text((4, top + side // 2 - 6), tool, fill="black")
        way = Image.Resampling.NEAREST if pictures.shape[-1] < side else Image.Resampling.LANCZOS
        for column, picture in enumerate(pictures):
            array = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            tile = Image.fromarray(array).resize((side, side), way)
            sheet.paste(tile, (margin + column * (side + 2), top))
    sheet.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LDAM_DATA"), help="the folder of the networks")
    parser.add_argument("--networks", nargs="+", choices=PROBLEMS, default=["cifar", "imagenet"])
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--steps", type=int, default=300, help="gradients a picture")
    parser.add_argument("--classes", choices=["easy", "even"], default="easy", help="of ImageNet; even: every 62nd")
    parser.add_argument("--sheets", type=Path, default=ROOT / "docs", help="where the sheets of pictures go")
    asked = parser.parse_args()
    if asked.data is None:
        parser.error("--data, or the variable LDAM_DATA, must name the folder of the networks")
    torchvision_without_its_operators()
    opencv_in_name()
    for name in asked.networks:
        problem = PROBLEMS[name](asked.data, EASY if asked.classes == "easy" else EVEN)
        measure(problem, asked.steps, asked.tools, asked.sheets / f"readable_{name}.jpg")


if __name__ == "__main__":
    main()
