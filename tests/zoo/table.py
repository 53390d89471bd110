"""Writes docs/networks.md from a run over the whole zoo: ``python -m tests.zoo.table [rows.jsonl]``.

Rows are added to the file as they are found, and those that are there already are not examined again, so that a run
can be interrupted.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import of_timm, of_torchvision, of_transformers
from .examination import examine
from .own_model import Network
from .packages import package

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
HOMES = {"torchvision": of_torchvision, "timm": of_timm, "transformers": of_transformers}
TOP = """# Networks

Architectures of other people that were examined, with random weights and small inputs. For each one: its layers are
listed; the default layer is what the model itself returns (before a softmax); the activations of one output unit and
of one hidden unit equal those of the user's own model for that image alone; a step of a chain is the gradient that
autograd gives (or, where torch's own is wrong for a single image, that of finite differences); and neither the model
(weights, buffers, hooks, flags) nor a random generator of the user's has changed. *Written by `python -m
tests.zoo.table`; `make zoo` repeats the run.*

"""


def row_of(home: str, network: Network) -> dict[str, Any]:
    """What is said of one network."""
    given = "×".join(map(str, network.shape))
    if network.inputs is not None:
        names = ", ".join(network.inputs) if isinstance(network.inputs, Mapping) else "a function"
        given += f"; inputs: {names}"
    row = {"home": home, "name": network.name, "inputs": given, "layer": "", "says": ""}
    try:
        found = examine(network)
    except ValueError as error:
        return row | {"result": "refused", "says": str(error)}
    notes = [note for note in found.notes if not note.startswith("model was in training mode")]
    return row | {"result": "sampled", "layer": found.default, "says": " ".join(notes)}


def page(rows: list[dict[str, Any]]) -> str:
    versions = {home: package(home).__version__ for home in HOMES}
    counts = Counter(row["result"] for row in rows)
    per_home = Counter(row["home"] for row in rows)
    listed = ", ".join(f"{per_home[home]} of {home} {versions[home]}" for home in HOMES)
    share = counts["sampled"] / len(rows)
    text = (
        TOP + f"With torch {torch.__version__}: {len(rows)} networks, {listed}. Sampled: {counts['sampled']} "
        f"({share:.1%}). Refused, with what to do: {counts['refused']}. Silently wrong: none; a network that fails the "
        "examination ends the run.\n"
    )
    for home in HOMES:
        text += f"\n## {home}\n\n| network | image | result | default layer | notes, or the refusal |\n"
        text += "|---|---|---|---|---|\n"
        for row in (row for row in rows if row["home"] == home):
            says = row["says"].replace("|", "\\|")
            layer = f"`{row['layer']}`" if row["layer"] else ""
            text += f"| {row['name']} | {row['inputs']} | {row['result']} | {layer} | {says} |\n"
    return text


def write(file: Path) -> None:
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = {(row["home"], row["name"]): row for row in known}
    wanted = [(home, network) for home, module in HOMES.items() for network in module.networks()]
    for home, network in wanted:
        if (home, network.name) not in rows:
            package(home)
            rows[home, network.name] = row_of(home, network)
            with file.open("a") as out:
                print(json.dumps(rows[home, network.name]), file=out)
            print(home, network.name, rows[home, network.name]["result"], flush=True)
            gc.collect()
    PAGE.write_text(page([rows[home, network.name] for home, network in wanted]), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "networks.jsonl"))
