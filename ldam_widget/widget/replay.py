"""A page that plays a recorded run without a kernel: our own front end, fed with recorded messages."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Sequence
from typing import Any

from .protocol import Message

Content = dict[str, Any]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ margin: 12px; font-family: system-ui, sans-serif; }}
h1 {{ margin: 0 0 8px; font-size: 16px; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee; }} }}
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<div id="place"></div>
</main>
<noscript>This page plays a recorded run of ldam-widget; it needs JavaScript.</noscript>
<script type="application/json" id="recording">{recording}</script>
<script type="module">
const {{ replay }} = await import("data:text/javascript;base64,{script}");
replay(JSON.parse(document.getElementById("recording").textContent), document.getElementById("place"));
</script>
</body>
</html>
"""


class MessageLog:
    """Collects the messages that a page would receive, each only when it has changed.

    Args:
        setup, state: give the messages of these kinds.
        verdict: gives the newest message on whether chains can be trusted, or None.
        frame: gives the current picture as a frame message, from its number and generation.
    """

    def __init__(
        self,
        setup: Callable[[], Content],
        state: Callable[[], Content],
        verdict: Callable[[], Content | None],
        frame: Callable[[int, int], Message],
    ) -> None:
        self._setup, self._state, self._verdict, self._frame = setup, state, verdict, frame
        self._gen: int | None = None
        self._last_state: Content | None = None
        self._last_verdict: Content | None = None
        self._seq = 0

    def picture(self) -> list[Message]:
        """On the loop: what has changed since the last picture, then the picture."""
        self._seq += 1
        setup, state, verdict = self._setup(), self._state(), self._verdict()
        news: list[Content] = []
        if setup["gen"] != self._gen:
            news.append(setup)
        elif state != self._last_state:
            news.append(state)
        if verdict is not None and verdict is not self._last_verdict:
            news.append(verdict)
        self._gen, self._last_state, self._last_verdict = setup["gen"], state, verdict
        return [*((content, []) for content in news), self._frame(self._seq, setup["gen"])]


def page(title: str, messages: Sequence[Message], per_second: float, bundle: tuple[str, str]) -> str:
    """A self-contained HTML page.

    Args:
        title: of the page.
        messages: contents with their buffers, in order; the first is a setup.
        per_second: frames to play.
        bundle: script and style sheet of the front end.
    """
    recording = {
        "messages": [
            {"content": content, "buffers": [base64.b64encode(data).decode("ascii") for data in buffers]}
            for content, buffers in messages
        ],
        "period": 1000 / per_second,
    }
    # "<" never occurs: a name such as "</script>" stays data
    text = json.dumps(recording, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    script, style = bundle
    return _PAGE.format(
        title=html.escape(title),
        style=style,
        recording=text,
        script=base64.b64encode(script.encode()).decode("ascii"),
    )
