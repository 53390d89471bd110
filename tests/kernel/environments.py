"""ipykernel 6.31, 7.3 and 7.4 side by side: a folder each, to be put first on PYTHONPATH. Everything else is shared.

`python -m tests.kernel.environments` makes those that are missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".kernels"
# With what a version needs and the newest, which the environment of the tests holds, does not.
VERSIONS = {"6.31.0": ["nest-asyncio==1.6.0"], "7.3.0": [], "7.4.0": []}


def environment(version: str) -> Path:
    """Folder with this ipykernel, made if it is not there.

    Raises:
        RuntimeError: pip cannot install it; the message holds what pip says.
    """
    folder = FOLDER / f"ipykernel-{version}"
    if folder.exists():
        return folder
    FOLDER.mkdir(exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=FOLDER))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    packages = [f"ipykernel=={version}", *VERSIONS[version]]
    done = subprocess.run([*pip, "--target", str(unfinished), *packages], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(unfinished)
        raise RuntimeError(
            f"ipykernel {version}, which these tests need, could not be installed: `make kernels` with a network first."
            f"\n{done.stderr.strip()}"
        )
    unfinished.chmod(0o755)
    try:
        os.rename(unfinished, folder)  # whole or not at all
    except OSError:  # somebody else was faster
        shutil.rmtree(unfinished)
    return folder


if __name__ == "__main__":
    for version in VERSIONS:
        print(environment(version))
