"""Find a Chromium, or install one: the system's packages, else Playwright's own download.

`python -m tests.browser.chromium` does it ahead of the tests and prints where it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
# No sandbox: containers run as root. The rest keeps a headless browser from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows a turning disc, and is allowed without a question.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def find() -> str | None:
    """Path of a browser that is already there."""
    named = os.environ.get("LDAM_CHROMIUM")
    if named:
        return named
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except Exception:
        return None
    return path if os.path.exists(path) else None


def install() -> str:
    """Path of a browser, installed if need be.

    Raises:
        RuntimeError: neither way worked.
    """
    path = find()
    attempts = [[sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"]]
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        attempts = [
            [*sudo, "apt-get", "update", "-qq"],
            [*sudo, "apt-get", "install", "-y", "-qq", "chromium"],
            *attempts,
        ]
    for command in attempts:
        if path:
            break
        subprocess.run(command, check=False, timeout=600, stdout=subprocess.DEVNULL)
        path = find()
    if not path:
        raise RuntimeError(
            "no Chromium was found and none could be installed; install one, or name it in the variable LDAM_CHROMIUM"
        )
    return path


if __name__ == "__main__":
    print(install())
