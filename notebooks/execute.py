"""Run every notebook from a clean kernel and save it with its outputs: `python notebooks/execute.py [--check]`.

`--check` runs them and saves nothing: what CI does. The study of MNIST takes its time with LDAM_STUDY=full and compares
with real digits where LDAM_DATA is set, which is how it is saved.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: Path) -> nbformat.NotebookNode:
    """The executed notebook; raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    # Widget state in a file holds the whole front end: the pictures in the outputs are what a reader needs.
    patience = None if os.environ.get("LDAM_STUDY") == "full" else 300
    client = NotebookClient(
        notebook,
        timeout=patience,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": FOLDER}},
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day: they would differ at every run
    notebook.metadata.pop("widgets", None)
    return notebook


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        notebook = execute(path)
        if "--check" not in sys.argv:
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
