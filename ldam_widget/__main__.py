"""`python -m ldam_widget`: the same as the command `ldam`."""

from .cli import app

app(prog_name="ldam")
