"""Step and scale on a CUDA device, where there is one: `python benchmarks/gpu.py`.

The same contenders and cases as step.py and scale.py, against the same eager floor. The device is waited for at both
ends of every block, and the wall clock is read. `--device cpu` tries the script where there is none.
"""

from __future__ import annotations

import argparse

import scale
import step
import torch
from networks import NETWORKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    asked = parser.parse_args()
    if asked.device.type == "cuda":
        if not torch.cuda.is_available():
            print("no CUDA device: not measured")
            return
        print(f"{torch.cuda.get_device_name(asked.device)}, CUDA {torch.version.cuda}")
    step.compare_all(asked.networks, asked.rounds, asked.device)
    scale.table(max(2, asked.rounds // 2), asked.device)


if __name__ == "__main__":
    main()
