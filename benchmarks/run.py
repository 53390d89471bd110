"""Run the benchmarks and write what they print into RESULTS.md: `make bench`.

`python benchmarks/run.py step "stream --rounds 3"` runs those alone; what stands in quotes is passed on. One that fails
costs the others nothing: it is named at the end. Some take long, and are run by themselves:

    python benchmarks/watch.py                              what watching costs a training
    python benchmarks/discriminator.py --data DIR           what the discriminator does to samples
    python benchmarks/cifar_discriminator.py --data DIR     the same for CIFAR-10
    python benchmarks/averaging.py --weights DIR            whether averaged weights show more modes
    python benchmarks/readable.py --data DIR                whether pictures can be read, beside other tools
    python benchmarks/soak.py                               whether a million steps leave anything behind
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
SCRIPTS = ["step", "stream", "latency", "scale", "gpu", "mixing", "expressions"]
PACKAGES = [
    "torch", "torchvision", "torch-lucent", "torch-dreams", "torch-sgld", "posteriors", "jupyter-rfb", "jupyterlab",
    "ipykernel", "anywidget",
]  # fmt: skip
PATIENCE = 3600  # seconds for a script


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"{processor()}, {os.cpu_count()} logical cores, load {load:.1f} before, {gpu}; Python "
        f"{platform.python_version()}, {', '.join(versions)}."
    )


def run(script: str, arguments: list[str]) -> tuple[str, str]:
    """What it printed, and why it failed: "" if it did not."""
    command = [sys.executable, str(FOLDER / f"{script}.py"), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "", f"not done after {PATIENCE} s"
    if done.returncode:
        return done.stdout, done.stderr[-3000:].strip() or f"exit status {done.returncode}"
    return done.stdout, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", default=SCRIPTS, help=f"of {', '.join(SCRIPTS)}; all of them")
    parser.add_argument("--results", type=Path, default=FOLDER / "RESULTS.md", help="the file that gets a new section")
    asked = parser.parse_args()
    commands = [shlex.split(script) for script in asked.scripts]
    for script, *_ in commands:
        if not (FOLDER / f"{script}.py").is_file():
            parser.error(f"there is no benchmark {script!r}")
    head, _, older = (asked.results.read_text() if asked.results.exists() else "").partition("\n## ")
    parts, failures = [f"## {datetime.date.today()}\n\n{machine()}\n"], []
    for script, *arguments in commands:
        printed, why = run(script, arguments)
        print(printed, flush=True)
        if why:
            failures.append(f"{script} failed: {why}")
            print(failures[-1], file=sys.stderr, flush=True)
            continue
        command = shlex.join(["python", f"benchmarks/{script}.py", *arguments])
        parts.append(f"`{command}`\n\n{printed.strip()}\n")
        # after each, since the next may be interrupted
        asked.results.write_text(head + "\n" + "\n".join(parts) + (f"\n## {older}" if older else ""))
    if failures:
        sys.exit("\n".join(["", *failures]))


if __name__ == "__main__":
    main()
