"""The Pythons that the metadata promises are those that are checked."""

from __future__ import annotations

import json
import re
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_same_pythons_everywhere() -> None:
    promised = metadata("ldam-widget")
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c) for c in promised.get_all("Classifier", [])]
    pythons = [match[1] for match in found if match]
    lowest = pythons[0]
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert promised["Requires-Python"] == f">={lowest}"
    assert f'target-version = "py{lowest.replace(".", "")}"' in settings  # the syntax, by ruff
    assert f'python_version = "{lowest}"' in settings  # the standard library, by mypy
    assert f"python: {json.dumps(pythons)}" in workflow
