"""Run notebooks from clean kernels and save them with their outputs: `python notebooks/execute.py [--check] [FILE …]`.

Without a FILE, all of them. `--check` runs them and saves nothing: what CI does. The studies take their time with
LDAM_STUDY=full and compare with real images where LDAM_DATA is set, which is how they are saved.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: Path) -> nbformat.NotebookNode:
    """The executed notebook; raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    # Widget state in a file holds the whole front end: the pictures in the outputs are what a reader needs.
    patience = None if os.environ.get("LDAM_STUDY") == "full" else 600
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a notebook; default: all in this folder")
    parser.add_argument("--check", action="store_true", help="save nothing")
    asked = parser.parse_args()
    for path in asked.files or sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        notebook = execute(path)
        if not asked.check:
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
