"""What is shown of the pictures: contrast, bands, slice, and the part that neurons can see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...core.parameters import Parameter
from ...pictures.crops import Crop, Known, crop_of
from ...pictures.display import Display, axes_of, checked_bands, checked_contrast
from ...sampling.sampler import Sampler
from ..protocol import Content, flag, integers, text
from .part import Command, Host, Part


class DisplayChoice(Part):
    """Selectors for contrast and bands, and a switch for cropping; the slice is a slider."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._chosen = Display()
        self._wants_crop: bool | None = None  # None: if the receptive field is small
        self._finding = threading.Lock()  # states are sent by any thread
        self._crop: tuple[object, Crop | None] | None = None  # with the neurons that it is of
        self._fields: Known = {}  # receptive fields found so far

    # ---- from any thread -------------------------------------------------------------------------------------------

    @property
    def now(self) -> Display:
        """What is shown of the current picture."""
        crop = self._found if self.cropped else None
        number = self.host.params.get("slice")
        return Display(
            self.contrast,
            self._chosen.bands,
            None if number is None else int(number),
            None if crop is None else crop.windows,
        )

    @property
    def contrast(self) -> str:
        """One of `CONTRASTS`."""
        return self._chosen.contrast

    @property
    def bands(self) -> tuple[int, ...]:
        """The channels shown."""
        return self._chosen.bands_of(axes_of(self._shape)[0])

    @property
    def cropped(self) -> bool:
        """Whether tiles are cropped to the receptive fields."""
        crop = self._found
        if crop is None:
            return False
        return crop.is_small(*self._shape[-2:]) if self._wants_crop is None else self._wants_crop

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.host.sampler.input_shape

    @property
    def _found(self) -> Crop | None:
        """What the current neurons can see; found once for each choice of neurons."""
        runner = self.host.runner
        samplers = [runner] if isinstance(runner, Sampler) else runner.samplers
        neurons = [(s.layer, str(s.transforms), *(neuron.key for neuron in s.neurons)) for s in samplers]
        with self._finding:
            if self._crop is None or self._crop[0] != neurons:
                self._crop = neurons, crop_of(samplers, self._fields)
            return self._crop[1]

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def change_contrast(self, contrast: Any) -> None:
        """Show other grey levels."""
        self._show(replace(self._chosen, contrast=checked_contrast(contrast)))

    def change_bands(self, bands: Any) -> None:
        """Show other channels; None is the default."""
        self._show(replace(self._chosen, bands=checked_bands(bands, axes_of(self._shape)[0])))

    def change_crop(self, crop: bool | None) -> None:
        """Show only the receptive fields, or whole pictures; None is the default."""
        if crop is not None and not isinstance(crop, bool):
            raise TypeError(f"crop must be True, False or None (if the receptive field is small); got {crop!r}")
        self._wants_crop = crop
        self._show(self._chosen)

    def _show(self, chosen: Display) -> None:
        self._chosen = chosen
        self.host.post_state()
        self.host.refresh()

    # ---- the page --------------------------------------------------------------------------------------------------

    def parameters(self) -> Iterable[Parameter]:
        depth = axes_of(self._shape)[1]
        if depth > 1:
            yield Parameter(
                "slice", 0, depth - 1, depth // 2, f"The slice shown of the {depth} of a volume.", group="picture",
                integer=True,
            )  # fmt: skip

    def state(self) -> dict[str, Any]:
        crop = self._found
        count, _, height, width = axes_of(self._shape)
        return {
            "display": {
                "contrast": self.contrast,
                "bands": list(self.bands),
                "band_count": count,
                "cropped": self.cropped,
                "field": None if crop is None else list(crop.field),
                "fields": None if crop is None else [list(box) for box in crop.boxes],
                "window": None if crop is None else list(crop.size),
                "picture": [height, width],
            }
        }

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"display": self._read}

    def _read(self, content: Content) -> Command | None:
        contrast, bands, crop = text(content, "contrast"), integers(content, "bands"), flag(content, "cropped")
        if contrast is not None:
            return Command(lambda: self.change_contrast(contrast))
        if bands is not None:
            return Command(lambda: self.change_bands(bands))
        return None if crop is None else Command(lambda: self.change_crop(crop))
