"""Play, pause, step, restart, snapshot and record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from ...pictures import images
from ...sampling.starts import Start
from . import recorder
from .part import Action, Host, Part
from .recorder import Recorder


class TopBar(Part):
    """The buttons common to all panels.

    Args:
        host: the panel.
        page: draws the displayed picture, given the tile size in pixels.
        play: start when the panel is shown.
    """

    _TILE = 84  # pixels
    _RECORDED_TILE = 56  # a film of noise becomes large

    def __init__(self, host: Host, page: Callable[[int], Image.Image], play: bool) -> None:
        super().__init__(host)
        self._page, self._will_play = page, play
        self._recorder: Recorder[Image.Image] | None = None

    # ---- from any thread -------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether it is sampling, or will start once displayed."""
        return self.host.loop.playing or self._will_play

    def begin(self) -> None:
        """The panel is shown."""
        if self._will_play and not self.host.loop.closed:
            self._will_play = False
            self.host.loop.play()

    def play(self) -> None:
        """Sample until paused; clears the last error."""
        self._will_play = False
        self.host.report(None)  # first: the run may fail at once
        self.host.loop.play()
        self.host.post_state()

    def pause(self) -> None:
        """Stop after the step in progress, without waiting for it."""
        self._will_play = False
        self.host.loop.playing = False
        self.host.loop.show()
        self.host.post_state()

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Advance to the next picture."""
        self.host.loop.advance(int(self.host.runner.params["steps_per_frame"]))
        self.host.loop.send_now()

    def restart(self, seed: int | None = None, start: Start | None = None) -> None:
        """Restart with new start images."""
        self.host.runner.restart(seed, start)
        self.host.begin_anew()

    def reset_average(self) -> None:
        """Discard the average."""
        self.host.runner.reset_average()
        self.host.refresh()

    def snapshot(self) -> Image.Image:
        """The displayed picture with labels."""
        return self._page(self._TILE)

    def film(self, wanted: int, on_full: Action | None = None) -> Recorder[Image.Image]:
        """A recorder of the displayed picture, not yet started."""
        return Recorder(lambda: self._page(self._RECORDED_TILE), wanted, on_full)

    def _record(self) -> None:
        if self._recorder is None:
            wanted = round(recorder.LONGEST * recorder.PER_SECOND)
            self._recorder = self.film(wanted, lambda: self.host.loop.submit(self._stop_recording))
            self.host.loop.observers.append(self._recorder)
        self.host.post_state()

    def _stop_recording(self) -> None:
        film, self._recorder = self._recorder, None
        if film is not None:
            self.host.loop.observers.remove(film)
            if film.pages:
                self._download(images.gif_bytes(film.pages, recorder.PER_SECOND), "gif")
            else:
                hint = "A recording holds the pictures made while it runs: press play or step."
                self.host.warn("nothing was recorded: no picture was made", hint)
        self.host.post_state()

    def _download(self, data: bytes, ending: str) -> None:
        sampler = self.host.sampler
        name = "".join(c if c.isalnum() else "-" for c in f"{self.host.title}-{sampler.layer}")[:80]
        filename = f"{name}-step-{sampler.steps}.{ending}"
        self.host.post({"kind": "download", "filename": filename, "mime": f"image/{ending}"}, [data])

    # ---- the page --------------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        return {"device": str(self.host.sampler.device)}

    def state(self) -> dict[str, Any]:
        return {"playing": self.playing, "recording": self._recorder is not None}

    def immediate_actions(self) -> Mapping[str, Action]:
        return {"play": self.play, "pause": self.pause}

    def actions(self) -> Mapping[str, Action]:
        return {
            "step": self.step,
            "restart": self.restart,
            "reset_average": self.reset_average,
            "snapshot": lambda: self._download(images.encode_page(self.snapshot(), "png"), "png"),
            "record": self._record,
            "stop_record": self._stop_recording,
        }
