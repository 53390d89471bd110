"""Imports point down, read from the syntax trees; and a sampler where Jupyter and matplotlib are absent."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ldam_widget

PACKAGE = Path(ldam_widget.__file__).parent
JUPYTER = {"ipywidgets", "anywidget", "IPython", "traitlets", "ipykernel", "comm", "jupyterlab", "notebook"}
THREADS = {"threading", "queue", "concurrent", "multiprocessing", "_thread"}

# Folders from the bottom to the top: each imports from floors below its own, never from its own or from above.
FLOORS = [
    {"core"},
    {"data", "diagnostics", "embedding", "network"},
    {"checkpoints", "execution", "kernels", "parametrizations", "toolbox"},
    {"objectives", "surveys"},
    {"sampling"},
    {"adversary", "analysis", "engines", "live", "pictures"},
    {"atlases", "demo"},
    {"command_line", "widget"},
    {"callbacks"},
    {"cli", "__init__", "__main__"},
]
FLOOR = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
AT_THE_TOP = {"__init__", "__main__", "_version", "cli"}  # files beside the folders


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "notebooks" not in path.parts)


def folder(path: Path) -> str:
    """The folder of a file, directly below the package; of a file at the top, its name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    """Dotted name of a file's module, without the package's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Absolute names of all that a file imports, wherever in the file; for type checkers alone, too."""
    names = set()
    here = ["ldam_widget", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level], *(node.module or "").split(".")] if node.level else [node.module]
            module = ".".join(part for part in base if part)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def folders_of(names: set[str]) -> set[str]:
    inside = {name.split(".")[1] for name in names if name.startswith("ldam_widget.")}
    return {name for name in inside if name in FLOOR}


def outside(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def files_of(names: set[str]) -> set[str]:
    """Modules of this package, as `name_of` names them, that the names are or are taken from."""
    known = {name_of(path) for path in modules()}
    inside = [name.split(".")[1:] for name in names if name.startswith("ldam_widget.")]
    return {next(m for k in range(len(n), -1, -1) if (m := ".".join(n[:k]) or "__init__") in known) for n in inside}


def test_four_files_at_the_top_and_a_floor_for_every_folder() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= AT_THE_TOP
    assert {folder(path) for path in modules()} <= {*FLOOR, *AT_THE_TOP}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    names, own = imports(path), folder(path)
    if own in FLOOR:
        wrong = {other for other in folders_of(names) - {own} if FLOOR[other] >= FLOOR[own]}
        assert not wrong or own in AT_THE_TOP, f"{own} imports {wrong}, not below it"
    if own not in ("widget", "cli"):
        assert not outside(names) & JUPYTER
    if own not in AT_THE_TOP and FLOOR[own] < FLOOR["live"]:
        # sampling has locks, and network asks which thread runs it; neither starts any
        assert not outside(names) & (THREADS - {"threading"} if own in ("sampling", "network") else THREADS)
        assert "threading.Thread" not in path.read_text(encoding="utf-8")
    if path.stem not in ("figures", "cli") and own != "widget":
        assert "matplotlib" not in outside(names)


def test_no_files_import_each_other_in_a_circle() -> None:
    ahead = {name_of(path): files_of(imports(path)) - {name_of(path)} for path in modules()}
    ahead = {name: others for name, others in ahead.items() if name not in AT_THE_TOP}
    while free := {name for name, others in ahead.items() if not others & ahead.keys()}:
        ahead = {name: others for name, others in ahead.items() if name not in free}
    assert not ahead, f"in circles, or importing from one: {sorted(ahead)}"


def test_a_public_class_name_means_one_thing() -> None:
    where: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(name_of(path))
    assert {"Sampler", "Recipe"} <= where.keys()  # the control
    assert {name: files for name, files in where.items() if len(files) > 1} == {}


FRONT_END = PACKAGE.parent / "js/src"


def test_files_are_short() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in (*modules(), *FRONT_END.rglob("*.ts"), *FRONT_END.rglob("*.css"))
    }
    assert {path.suffix for path in lengths} == {".py", ".ts", ".css"}
    assert {str(path): length for path, length in lengths.items() if length > 450} == {}
    assert statistics.median(lengths.values()) <= 130


def test_the_walk_sees_relative_imports_and_imports_in_functions() -> None:
    """The control: what the rules forbid would be found."""
    assert "ldam_widget.core.target.Target" in imports(PACKAGE / "kernels" / "algorithm1.py")
    assert "ldam_widget.live.loop.Loop" in imports(PACKAGE / "widget" / "panel.py")
    assert "threading" in outside(imports(PACKAGE / "live" / "loop.py"))
    assert "arviz_stats" in outside(imports(PACKAGE / "diagnostics" / "mixing.py"))  # within a function
    assert "ldam_widget.widget.LDAM" in imports(PACKAGE / "__init__.py")  # for type checkers
    assert "core.target" in files_of(imports(PACKAGE / "kernels" / "algorithm1.py"))


WITHOUT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is not installed")

sys.meta_path.insert(0, Blocker())
import ldam_widget.sampling.sampler
import torch
import ldam_widget as ldam

s = ldam.Sampler(torch.nn.Linear(6, 3), input_shape=(6,), chains=2, regularizers=[ldam.L2(0.1)])
s.step(20)
for frame in s.frames(4):
    assert frame.images.shape == (3, 2, 6)
try:
    ldam.LDAM
except ImportError as error:
    assert "is not installed" in str(error)
else:
    raise AssertionError("the widget was there all the same")
print("sampled", s.steps)
"""


@pytest.mark.slow
def test_a_script_samples_where_jupyter_and_matplotlib_are_not_installed() -> None:
    blocked = sorted(JUPYTER | {"matplotlib"})
    code = WITHOUT.format(blocked=blocked)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "sampled 24"


@pytest.mark.slow
def test_importing_the_package_is_light() -> None:
    """What is only used by some is imported on first use; by widgets, the libraries of figures and diagnostics."""
    code = """
import sys, ldam_widget
loaded = lambda names: [name for name in names if name in sys.modules]
print(loaded(sys.argv[1:]))
ldam_widget.LDAM, ldam_widget.Compare, ldam_widget.watch
print(loaded(["ipywidgets"]), loaded(["matplotlib", "arviz_stats", "scipy"]))
"""
    heavy = [*sorted(JUPYTER - {"traitlets", "comm"}), "matplotlib", "arviz_stats", "scipy", "typer"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.splitlines() == ["[]", "['ipywidgets'] []"]
