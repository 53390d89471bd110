"""The arrows of design.md, section 1, over the syntax trees; and a sampler where Jupyter and matplotlib are absent."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ldam_widget

PACKAGE = Path(ldam_widget.__file__).parent
JUPYTER = {"ipywidgets", "anywidget", "IPython", "traitlets", "ipykernel", "comm", "jupyterlab", "notebook"}
THREADS = {"threading", "queue", "concurrent", "multiprocessing", "_thread"}

# who may import what of this package; from the bottom to the top
LEVELS = [
    {"parameters", "_version"},
    {
        "schedules",
        "types",
        "models",
        "noise",
        "burn_in",
        "averages",
        "diagnostics",
        "heat",
        "leaky",
        "outputs",
        "execution",
        "data",
        "parametrizations",
    },
    {"neurons", "target", "tracing", "readouts", "wiring"},
    {
        "kernels",
        "discriminator",
        "regularizers",
        "exact",
        "checks",
        "ladder",
        "warm_up",
        "quench",
        "defaults",
        "priors",
        "standing",
        "whole_steps",
    },
    {"sampler", "images", "checkpoints"},
    {"agreement", "comparison", "training"},
    {"figures", "loop", "turns", "demo", "exploration", "ranking"},
    {"widget"},
    {"cli", "__init__", "__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(LEVELS) for room in rooms}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "notebooks" not in path.parts)


def room(path: Path) -> str:
    """The file or folder directly below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, types_too: bool = True) -> set[str]:
    """Absolute names of all that a file imports, wherever in the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not types_too:
        tree = WithoutTypeChecking().visit(tree)
    names = set()
    here = ["ldam_widget", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level], *(node.module or "").split(".")] if node.level else [node.module]
            module = ".".join(part for part in base if part)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


class WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST:
        return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


def rooms_of(names: set[str]) -> set[str]:
    inside = [name.split(".")[1] for name in names if name.startswith("ldam_widget.")]
    return {name for name in inside if name in RANK}


def outside(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in modules()} <= set(RANK)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    names, own = imports(path, types_too=False), room(path)
    above = {other for other in rooms_of(names) if RANK[other] > RANK[own]}
    assert not above, f"{own} imports {above}, which stand above it"
    if own not in ("widget", "cli"):
        assert not outside(names) & JUPYTER
    if RANK[own] < RANK["loop"]:
        assert not outside(names) & THREADS
    if own not in ("figures", "widget", "cli"):
        assert "matplotlib" not in outside(names)
    if own in ("kernels", "regularizers", "target", "neurons"):
        assert "ldam_widget.sampling.sampler" not in {".".join(name.split(".")[:2]) for name in names}


def test_the_walk_sees_relative_imports_and_imports_in_functions(tmp_path: Path) -> None:
    """The control: what the rule forbids would be found."""
    assert "ldam_widget.core.target.Target" in imports(PACKAGE / "kernels" / "algorithm1.py")
    assert "ldam_widget.live.loop.Loop" in imports(PACKAGE / "widget" / "panel.py")
    assert "threading" in outside(imports(PACKAGE / "loop.py"))
    assert "arviz_stats" in outside(imports(PACKAGE / "diagnostics" / "mixing.py"))  # within a function
    assert "ldam_widget.core.target.Target" in imports(PACKAGE / "types.py")
    assert "ldam_widget.core.target.Target" not in imports(PACKAGE / "types.py", types_too=False)


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


def test_a_script_samples_where_jupyter_and_matplotlib_are_not_installed() -> None:
    blocked = sorted(JUPYTER | {"matplotlib"})
    code = WITHOUT.format(blocked=blocked)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "sampled 24"


def test_importing_the_package_is_light() -> None:
    """What is only used by some is imported on first use."""
    code = "import ldam_widget, sys; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = [*sorted(JUPYTER - {"traitlets", "comm"}), "matplotlib", "arviz_stats", "scipy", "typer"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "[]"
