"""`Part`: one thing that a panel can do, and what it says and hears of the page.

Each part here has one in `js/src/parts/` that shows it. A new button is an entry in `actions` here, and a button there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from ...core.parameters import Parameter
from ...live.loop import Loop
from ...sampling.comparison import Comparison
from ...sampling.sampler import Sampler
from ..protocol import Content

Action = Callable[[], object]


class Command(NamedTuple):
    """What a message asks for, to be run on the loop."""

    run: Action
    hurry: bool = True  # the reader waits for a picture of it


class Host(Protocol):
    """What a part may ask of its panel."""

    @property
    def runner(self) -> Sampler | Comparison:
        """What the loop runs. RuntimeError if the widget is closed."""
        ...

    @property
    def sampler(self) -> Sampler:
        """The sampler; of a comparison the first."""
        ...

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name."""
        ...

    @property
    def loop(self) -> Loop: ...

    @property
    def title(self) -> str: ...

    @property
    def seen(self) -> bool:
        """Is there a view?"""
        ...

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        ...

    def post_setup(self) -> None: ...

    def post_state(self) -> None: ...

    def refresh(self) -> None:
        """On the loop: the next frame brings averages and figures; while paused, send it now."""
        ...

    def show_still(self) -> None:
        """On the loop: while paused, send the picture once more."""
        ...

    def begin_anew(self) -> None:
        """On the loop: other chains, or other panes, from here on."""
        ...

    def redeclare(self, *, keep_defaults: bool = True) -> None:
        """There are other live parameters. keep_defaults=False: a reset goes back to what there is now."""
        ...

    def warn(self, message: str, hint: str) -> None:
        """Show a remark in the banner, and what to do."""
        ...

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None takes the banner away."""
        ...


class Part:
    """Does nothing; each part overrides what it needs.

    Args:
        host: the panel.
    """

    def __init__(self, host: Host) -> None:
        self.host = host

    # ---- to the page -----------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        """Fields of a setup message alone."""
        return {}

    def state(self) -> dict[str, Any]:
        """Fields of setup and state messages: what may change while the chains run on."""
        return {}

    def gauges(self) -> dict[str, Any]:
        """Fields of some frames, about four a second: what is measured. On the loop."""
        return {}

    # ---- from the page ---------------------------------------------------------------------------------------------

    def actions(self) -> Mapping[str, Action]:
        """Name of a button -> what it does, on the loop."""
        return {}

    def immediate_actions(self) -> Mapping[str, Action]:
        """Those that must not wait for the step in progress; they run on the thread of the message."""
        return {}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        """Kind of message -> reader that gives what it asks for; None if it is malformed, or meant for others."""
        return {}

    # ---- what happens ----------------------------------------------------------------------------------------------

    def parameters(self) -> Iterable[Parameter]:
        """Live parameters of the panel that the sampler knows nothing of."""
        return ()

    def on_greeting(self) -> None:
        """On the loop: a view has appeared."""

    def on_new_chains(self) -> None:
        """On the loop: other chains from here on."""

    def on_frame(self) -> None:
        """On the loop, after every frame, sent or not."""

    def close(self) -> None:
        """The widget is closed."""
