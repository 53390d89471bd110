"""A finished map: positions of points, its quality, and new points on it."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Callable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .arguments import array, chosen_device
from .placing import Placed, Placing
from .quality import MapQuality, quality
from .space import Space
from .tsne import TSNE, cost

if TYPE_CHECKING:
    from ..core.figures import PaperFigure

FORMAT = "ldam-embedding-1"


class Embedding:
    """A map of n points; see `ldam.embed`, which makes one.

    Attributes:
        points: (n, 2) float32, positions.
        settings: how it was made: perplexity, exaggeration, seed, steps done.
        features_of: images (n, *image) -> features (n, d), as `ldam.embed` computed them, so that further images can
            be placed; None for a map of features or positions, and for one that was loaded. Can be set.
        pixel_range: (lo, hi) of these images; None: unknown.

    Args:
        points: (n, 2) positions from any method.
        features: (n, d) of the same points, for `place`, `kl` and `trust`; None: without them.
        device: where it computes; None: CUDA if available, else the CPU.

    Raises:
        TypeError, ValueError: positions or features that are no numbers, not finite, or of the wrong shape.
    """

    def __init__(self, points: Any, features: Any = None, *, device: torch.device | str | None = None) -> None:
        on = chosen_device(device)
        positions = array("points", points, on).float().clone()  # the caller's may change
        if positions.shape[1] != 2:
            raise ValueError(
                f"points must be positions on a map, (n, 2); got {tuple(positions.shape)}. For a map of these rows: "
                "ldam.embed(features=…)"
            )
        self._positions = positions
        self._space: Space | None = None
        self.settings: dict[str, Any] = {}
        self.features_of: Callable[[Tensor], Tensor] | None = None
        self.pixel_range: tuple[float, float] | None = None
        if features is not None:
            self._space = features if isinstance(features, Space) else Space.of(array("features", features, on))
            if len(self._space.points) != len(positions):
                raise ValueError(f"{len(positions)} points, but features of {len(self._space.points)}")

    @classmethod
    def of(cls, run: TSNE) -> Embedding:
        """The map of a t-SNE as it stands, finished or not."""
        found = cls(run.points, run.space, device=run.points.device)
        found.kl = run.kl
        found.settings = {
            "perplexity": run.perplexity, "exaggeration": run.exaggeration, "seed": run.seed, "steps": run.done,
        }  # fmt: skip
        return found

    @cached_property
    def points(self) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self._positions.cpu().numpy()
        return found

    def __len__(self) -> int:
        return len(self._positions)

    @cached_property
    def kl(self) -> float:
        """KL(P‖Q) in nats, at the map's perplexity (30 if it was not made here); NaN without features."""
        if self._space is None:
            return math.nan
        return cost(self._space, self._positions, self.settings.get("perplexity", 30.0))

    @property
    def trust(self) -> float:
        """Trustworthiness for 15 neighbours, 0…1, from 2,000 of the points; NaN without features."""
        return self._quality.trust

    @property
    def kept(self) -> float:
        """Share of the 15 nearest neighbours kept on the map, from 2,000 of the points; NaN without features."""
        return self._quality.kept

    @cached_property
    def _quality(self) -> MapQuality:
        if self._space is None:
            return MapQuality(math.nan, math.nan)
        return quality(self._space.points, self._positions)

    @cached_property
    def _placing(self) -> Placing:
        return Placing(self._positions, self._need_space())

    def _need_space(self) -> Space:
        if self._space is None:
            raise ValueError(
                "this map has positions only: to place points in it, give the features of its points, "
                "ldam.embed(points=…, features=…)"
            )
        return self._space

    def place(self, features: Any, start: Any = None) -> Placed:
        """Place new points in the frozen map; they do not influence it, nor each other.

        A point with the features of a real one takes its place. Any other is drawn to its 15 nearest real points and
        pushed away by all, for ten steps. Samples need not lie near any real point: draw as a full mark only what is
        `solid`.

        Args:
            features: (m, d), of the kind the map was made from (before its reduction to 50 dimensions); (m, …) is
                flattened.
            start: (m, 2), where to begin: the last positions of points that move, so that their tracks are smooth.
                Rows with NaN, and None: the one among the neighbours that has the others nearest to it on
                the map.

        Returns:
            positions, distance to the nearest real point, spread of the neighbours, whether both are usual for real
            points, and the neighbours' indices.

        Raises:
            TypeError, ValueError: features or start of the wrong type or shape, or NaN; the map has no features.
        """
        space = self._need_space()
        rows = array("features", features, self._positions.device)
        if rows.shape[1] != len(space.mean):
            raise ValueError(f"features must have {len(space.mean)} numbers a point, as the map's; got {rows.shape[1]}")
        begin = None
        if start is not None:
            begin = torch.as_tensor(np.asarray(start, np.float32) if not isinstance(start, Tensor) else start.detach())
            begin = begin.to(rows.device, torch.float32)
            if begin.shape != (len(rows), 2):
                raise ValueError(f"start must be ({len(rows)}, 2), a position for each row; got {tuple(begin.shape)}")
        return self._placing(rows, begin)

    def figure(self, labels: Any = None, *, title: str = "") -> PaperFigure:
        """The map as a matplotlib figure without a window; `figure.savefig("x.pdf")` saves it.

        Args:
            labels: (n,), for colours: integers or text are classes, up to 40 named on the map, in ten colours that
                suit any colour vision; other numbers get a colour bar. None: one colour.
            title: heading.

        Raises:
            ValueError: another number of labels than points.
        """
        from .figures import embedding

        if labels is not None:
            labels = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
            if labels.shape != (len(self),):
                raise ValueError(f"labels must be one for each of the {len(self)} points; got shape {labels.shape}")
        return embedding(self.points, labels, title)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with the positions, the features in 50 dimensions and the settings."""
        tensors = {"points": self._positions.cpu().contiguous()}
        card: dict[str, Any] = {"settings": self.settings}
        if self._space is not None:
            tensors |= {
                "features": self._space.points.cpu().contiguous(),
                "beyond": self._space.beyond.cpu().contiguous(),
                "mean": self._space.mean.cpu().contiguous(),
                "components": self._space.components.cpu().contiguous(),
            }
            card |= {"unit": self._space.unit, "kl": self.kl}
        Path(path).write_bytes(save(tensors, {"format": FORMAT, "card": json.dumps(card)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> Embedding:
        """Read a file written by `save`. Raises FileNotFoundError; ValueError if it is damaged or of another kind."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        on = chosen_device(device)
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError(f"no {FORMAT!r} in its metadata")
                tensors = {name: file.get_tensor(name).to(on) for name in file.keys()}  # noqa: SIM118  # no iterator
            card, space = json.loads(metadata["card"]), None
            if "features" in tensors:
                kept = {name: tensors[name] for name in ("beyond", "mean", "components")}
                space = Space(tensors["features"], **kept, unit=float(card["unit"]))
            found = cls(tensors["points"], space, device=on)
            found.settings = dict(card["settings"])
            if "kl" in card:
                found.kl = float(card["kl"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a map that Embedding.save wrote: {error}") from error
        return found

    def __repr__(self) -> str:
        made = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        return f"Embedding of {len(self):,} points{f': KL {self.kl:.3f}, {made}' if made else ''}"

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=60)
        picture = base64.b64encode(buffer.getvalue()).decode()
        text = escape(repr(self))
        return f'<div>{text}</div><img alt="{text}" src="data:image/png;base64,{picture}">'
