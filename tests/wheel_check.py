"""Build the wheel, look inside, install it into an empty environment, and import it there.

Run by `make wheel`; a script and not a test, since it takes its own environment and the network.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
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
    "ldam_widget/demo/weights/judge.safetensors",
    "ldam_widget/demo/weights/judge.json",
    "ldam_widget/demo/weights/discriminator.safetensors",
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
print("installed wheel works:", ldam.__version__)
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
        empty = Path(folder) / "empty"
        venv.create(empty, with_pip=True)
        python = empty / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        run(str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
        run(str(python), "-W", "error::UserWarning", "-c", IMPORT, cwd=folder)


def run(*command: str, cwd: str | None = None) -> None:
    result = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    print(result.stdout.strip().splitlines()[-1] if result.stdout.strip() else "ok")


if __name__ == "__main__":
    main()
