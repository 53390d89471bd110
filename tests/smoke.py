"""What an installation must be able to do: sample, show a widget, run the command line.

A script without pytest, for an environment that holds the wheel and nothing else: `python -I tests/smoke.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import torch

import ldam_widget as ldam

assert "site-packages" in ldam.__file__, f"not the installed package: {ldam.__file__}"
late = [name for name in ("matplotlib", "arviz_stats", "scipy", "ipywidgets") if name in sys.modules]
assert not late, f"imported before they are needed: {late}"

demo = ldam.demo.mnist("final")
widget = ldam.LDAM(demo.model, neurons=[3], play=False, **demo.settings)
assert "matplotlib" not in sys.modules, "imported before a figure is asked for"
widget.step(3)
assert widget.sampler.steps == 3
assert len(widget._esm) > 5000, "the front end is missing"
assert len(widget._css) > 1000, "the style sheet is missing"
assert widget.figure().axes, "an empty figure"
assert "torchvision" not in sys.modules
widget.close()

clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
with tempfile.TemporaryDirectory() as folder:
    command = Path(sysconfig.get_path("scripts")) / ("ldam.exe" if sys.platform == "win32" else "ldam")
    for options in ([], ["--json"]):
        arguments = ["sample", "--neurons", "3", "--steps", "3", *options, "-o", "grid.png"]
        ran = subprocess.run([command, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (Path(folder) / "grid.png").stat().st_size > 0
    run = json.loads(ran.stdout)
assert run["versions"]["ldam_widget"] == ldam.__version__
assert [neuron["label"] for neuron in run["neurons"]] == ["3 three"]

print(f"ldam_widget {ldam.__version__} works on Python {sys.version.split()[0]}, torch {torch.__version__}")
