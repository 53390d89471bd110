"""Build sdist and wheel, check what is in them, install the wheel into an empty environment, and use it there.

Run by `make wheel` and `make release-check`; a script and not a test, since it takes its own environment and the
network. On other Pythons too where LDAM_PYTHONS names them, by name or path, with blanks between:
`LDAM_PYTHONS="python3.10 python3.13" make wheel`. Each costs minutes and, where the index has no builds of torch
without CUDA, gigabytes: hence only when asked for.

--dist FOLDER keeps what is built there. --tag v0.1.0 checks that the version is that of the tag, and that CHANGELOG.md
has a date for it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
LARGEST = 12e6  # bytes of the wheel
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


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--dist", type=Path)
    options.add_argument("--tag")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dist = given.dist or Path(folder) / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        run(sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT))  # sdist, and the wheel from the sdist
        (wheel,) = dist.glob("*.whl")
        (sdist,) = dist.glob("*.tar.gz")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, {sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB")
        run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist))
        if faults := [*faults_of(wheel), *([] if given.tag is None else faults_of_tag(given.tag, wheel))]:
            sys.exit("\n".join(faults))
        for interpreter in [sys.executable, *os.environ.get("LDAM_PYTHONS", "").split()]:
            if there(interpreter):
                use(interpreter, wheel, Path(folder))
            else:
                print(f"{interpreter}: skipped, no such Python here")
        if not os.environ.get("LDAM_PYTHONS"):
            print("other Pythons: skipped, LDAM_PYTHONS names none")


def faults_of(wheel: Path) -> list[str]:
    """What keeps it from being published: missing or stray files, its size, links that the index cannot follow."""
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        description = BytesParser().parsebytes(files.read(metadata)).get_payload(decode=True).decode()
    prose = re.sub(r"^```.*?^```", "", description, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)", prose)
    stray = [name for name in names if name.startswith(("tests/", "js/")) or "node_modules" in name]
    size = wheel.stat().st_size
    return [
        *(f"{wheel.name} lacks {name}" for name in WANTED if name not in names),
        *(f"{wheel.name} holds {name}" for name in stray),
        *([f"{wheel.name} has {size / 1e6:.1f} MB; at most {LARGEST / 1e6:.0f} MB"] if size > LARGEST else []),
        *([] if links else ["the description has no links: is it README.md?"]),
        *(f"the description links to {link}, which is no address" for link in links if "://" not in link),
    ]


def faults_of_tag(tag: str, wheel: Path) -> list[str]:
    version = wheel.name.split("-")[1]
    heading = rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$"
    dated = re.search(heading, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [
        *([] if tag == f"v{version}" else [f"the tag is {tag}, the version {version} (ldam_widget/_version.py)"]),
        *([] if dated else [f"CHANGELOG.md has no heading of this form: ## {version} (2026-01-31)"]),
    ]


def there(interpreter: str) -> bool:
    """A name on the PATH may be a mere shim: does it run?"""
    try:
        return subprocess.run([interpreter, "--version"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def use(interpreter: str, wheel: Path, folder: Path) -> None:
    empty = folder / "empty"
    run(interpreter, "-m", "venv", "--clear", str(empty))
    python = str(empty / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    run(python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
    # isolated: neither PYTHONPATH nor the folder of the script
    run(python, "-I", "-W", "error::UserWarning", str(ROOT / "tests" / "smoke.py"), cwd=str(folder))


def run(*command: str, cwd: str | None = None) -> None:
    result = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    print(result.stdout.strip().splitlines()[-1] if result.stdout.strip() else "ok")


if __name__ == "__main__":
    main()
