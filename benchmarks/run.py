"""Run the benchmarks and write what they print into RESULTS.md: `make bench`."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SCRIPTS = ["step.py", "stream.py", "mixing.py"]
PACKAGES = ["torch", "torch-lucent", "torch-sgld", "posteriors", "jupyter-rfb", "jupyterlab", "ipykernel", "anywidget"]


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    parts = [
        (
            f"## {datetime.date.today()}\n\n{processor()}, {os.cpu_count()} logical cores, no GPU; Python "
            f"{platform.python_version()}, {versions}.\n"
        )
    ]
    for script in SCRIPTS:
        result = subprocess.run([sys.executable, str(FOLDER / script)], capture_output=True, text=True, check=False)
        if result.returncode:
            sys.exit(f"{script} failed:\n{result.stderr[-3000:]}")
        print(result.stdout)
        parts.append(f"`python benchmarks/{script}`\n\n{result.stdout.strip()}\n")
    results = FOLDER / "RESULTS.md"
    head, _, older = results.read_text().partition("\n## ")
    results.write_text(head + "\n" + "\n".join(parts) + (f"\n## {older}" if older else ""))


if __name__ == "__main__":
    main()
