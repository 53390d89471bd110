"""`Part`: one feature of a panel, and the messages that it exchanges with the page.

Each part here has a counterpart in `js/src/parts/` that displays it. A new button is an entry in `actions` here, and a
button there.
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
    """The action requested by a message, to be run on the loop."""

    run: Action
    hurry: bool = True  # the user is waiting for the resulting picture


class Host(Protocol):
    """The panel, as seen by its parts."""

    @property
    def runner(self) -> Sampler | Comparison:
        """What the loop runs. RuntimeError if the widget is closed."""
        ...

    @property
    def sampler(self) -> Sampler:
        """The sampler; the first one of a comparison."""
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
        """Whether a view exists."""
        ...

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        ...

    def post_setup(self) -> None: ...

    def post_state(self) -> None: ...

    def refresh(self) -> None:
        """On the loop: include averages and gauges in the next frame; while paused, send it now."""
        ...

    def show_still(self) -> None:
        """On the loop: while paused, send the picture again."""
        ...

    def begin_anew(self) -> None:
        """On the loop: start over with other chains or other panes."""
        ...

    def redeclare(self, *, keep_defaults: bool = True) -> None:
        """The live parameters have changed. keep_defaults=False: a reset returns to the present values."""
        ...

    def warn(self, message: str, hint: str) -> None:
        """Show a warning in the banner, with a hint on what to do."""
        ...

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        ...


class Feature:
    """What a widget says to its page and hears from it about one thing; subclasses override what they need."""

    # ---- to the page -----------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        """Fields of setup messages only."""
        return {}

    def state(self) -> dict[str, Any]:
        """Fields of setup and state messages: values that may change while the chains run."""
        return {}

    def gauges(self) -> dict[str, Any]:
        """Fields of some frames, about four a second: measurements. Called on the loop."""
        return {}

    # ---- from the page ---------------------------------------------------------------------------------------------

    def actions(self) -> Mapping[str, Action]:
        """Button name -> its action, run on the loop."""
        return {}

    def immediate_actions(self) -> Mapping[str, Action]:
        """Actions that must not wait for the step in progress; they run on the message's thread."""
        return {}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        """Message kind -> parser that returns a command; None if the message is malformed or meant for another part."""
        return {}


class Part(Feature):
    """One feature of a panel; does nothing by itself.

    Args:
        host: the panel.
    """

    def __init__(self, host: Host) -> None:
        self.host = host

    # ---- events ----------------------------------------------------------------------------------------------------

    def parameters(self) -> Iterable[Parameter]:
        """Live parameters of the panel that the sampler does not have."""
        return ()

    def on_greeting(self) -> None:
        """On the loop: a view has appeared."""

    def on_new_chains(self) -> None:
        """On the loop: the chains have been replaced."""

    def on_frame(self) -> None:
        """On the loop, after every frame, sent or not."""

    def close(self) -> None:
        """The widget is closed."""
