"""Build the wheel, look inside, install it into an empty environment, and sample with it there.

Run by `make wheel`; a script and not a test, since it takes its own environment and the network. On other Pythons too
where LDAM_PYTHONS names them, by name or path, with blanks between: `LDAM_PYTHONS="python3.10 python3.13" make wheel`.
Each costs minutes and, where the index has no builds of torch without CUDA, gigabytes: hence only when asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
WANTED = [
    "ldam_widget/static/widget.js",
    "ldam_widget/static/widget.css",
    "ldam_widget/py.typed",
    "ldam_widget/demo/weights/lenet5_final.safetensors",
    "ldam_widget/demo/weights/lenet5_epoch1.safetensors",
    "ldam_widget/demo/weights/lenet5_averaged.safetensors",
    "ldam_widget/demo/weights/lenet5.json",
    "ldam_widget/demo/weights/cifar_final.safetensors",
    "ldam_widget/demo/weights/cifar_averaged.safetensors",
    "ldam_widget/demo/weights/cifar.json",
    "ldam_widget/demo/weights/judge.safetensors",
    "ldam_widget/demo/weights/judge.json",
    "ldam_widget/demo/weights/discriminator.safetensors",
    "ldam_widget/demo/weights/cifar_discriminator.safetensors",
    "ldam_widget/demo/weights/cifar_discriminator.json",
    "ldam_widget/notebooks/quickstart.ipynb",
]
IMPORT = """
import ldam_widget as ldam, torch, sys
assert "site-packages" in ldam.__file__, ldam.__file__
d = ldam.demo.mnist("final")
w = ldam.LDAM(d.model, neurons=[3], play=False, **d.settings)
w.step(3)
assert w.sampler.steps == 3 and len(w._esm) > 5000 and len(w._css) > 1000
assert "torchvision" not in sys.modules
w.close()
print(f"ldam_widget {ldam.__version__} works on Python {sys.version.split()[0]}, torch {torch.__version__}")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "build", "--outdir", folder, str(ROOT))  # sdist, and the wheel from the sdist
        (wheel,) = Path(folder).glob("*.whl")
        (sdist,) = Path(folder).glob("*.tar.gz")
        names = zipfile.ZipFile(wheel).namelist()
        missing = [name for name in WANTED if name not in names]
        stray = [name for name in names if name.startswith(("tests/", "js/")) or "node_modules" in name]
        if missing or stray:
            sys.exit(f"{wheel.name} lacks {missing} and holds {stray}")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, {sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB")
        for interpreter in [sys.executable, *os.environ.get("LDAM_PYTHONS", "").split()]:
            if there(interpreter):
                sample(interpreter, wheel, Path(folder))
            else:
                print(f"{interpreter}: skipped, no such Python here")
        if not os.environ.get("LDAM_PYTHONS"):
            print("other Pythons: skipped, LDAM_PYTHONS names none")


def there(interpreter: str) -> bool:
    """A name on the PATH may be a mere shim: does it run?"""
    try:
        return subprocess.run([interpreter, "--version"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def sample(interpreter: str, wheel: Path, folder: Path) -> None:
    empty = folder / "empty"
    run(interpreter, "-m", "venv", "--clear", str(empty))
    python = str(empty / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    run(python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
    run(python, "-W", "error::UserWarning", "-c", IMPORT, cwd=str(folder))


def run(*command: str, cwd: str | None = None) -> None:
    result = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    print(result.stdout.strip().splitlines()[-1] if result.stdout.strip() else "ok")


if __name__ == "__main__":
    main()
