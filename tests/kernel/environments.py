"""Environments beside that of the tests: a folder each, to be put first on PYTHONPATH. Everything else is shared.

ipykernel 6.31, 7.3 and 7.4, and one with everything as old as pyproject.toml allows, but for torch,
ipykernel and typing-extensions.
`python -m tests.kernel.environments` makes those that are missing.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".kernels"
# With what a version needs and the newest, which the environment of the tests holds, does not.
VERSIONS: dict[str, list[str]] = {"6.31.0": ["nest-asyncio==1.6.0"], "7.3.0": []}
if sys.version_info >= (3, 11):  # the first Python of ipykernel 7.4
    VERSIONS["7.4.0"] = []

# What installing the package brings, each at its lower bound; scipy, which comes with arviz-stats, of the same age.
LOWEST = [
    *(r.replace(">=", "==") for r in importlib.metadata.requires("ldam-widget") or [] if ";" not in r),
    "scipy==1.10",
]
# torch, and what the shared packages need a newer version of
LOWEST = [requirement for requirement in LOWEST if not requirement.startswith(("torch", "typing"))]


def environment(version: str) -> Path:
    """Folder with this ipykernel, created if it is missing.

    Raises:
        RuntimeError: pip cannot install it; the message holds what pip says.
    """
    return _made(f"ipykernel-{version}", [f"ipykernel=={version}", *VERSIONS[version]])


def lowest() -> Path:
    """Folder with `LOWEST`, created if it is missing; for Pythons that such old packages were built for.

    Raises:
        RuntimeError: as above.
    """
    return _made(f"lowest-{zlib.crc32(' '.join(LOWEST).encode()):08x}", LOWEST)  # other bounds, another folder


def _made(name: str, packages: list[str]) -> Path:
    folder = FOLDER / name
    if folder.exists():
        return folder
    FOLDER.mkdir(exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=FOLDER))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", "--target", str(unfinished), *packages], capture_output=True, text=True
    )
    if done.returncode:
        shutil.rmtree(unfinished)
        raise RuntimeError(
            f"{', '.join(packages)}, which these tests need, could not be installed: `make kernels` with a network "
            f"first.\n{done.stderr.strip()}"
        )
    unfinished.chmod(0o755)
    try:
        os.rename(unfinished, folder)  # whole or not at all
    except OSError:  # another process was faster
        shutil.rmtree(unfinished)
    return folder


if __name__ == "__main__":
    for version in VERSIONS:
        print(environment(version))
    if sys.version_info < (3, 12):
        print(lowest())
