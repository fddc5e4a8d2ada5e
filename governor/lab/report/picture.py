"""A page as a picture, by a real browser."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from governor.errors import LabError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
)
PATIENCE_S = 60.0


def browser() -> str:
    """Path of a Chromium; LabError if there is none."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    raise LabError(f"a picture of the report needs one of {', '.join(BROWSERS)}; install chromium")


def screenshot(page: Path, png: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
    """Write the top of `page` as PNG of `width` times `height` pixels; LabError if that fails."""
    png = png.resolve()
    png.unlink(missing_ok=True)
    flags = [f"--screenshot={png}", f"--window-size={width},{height}", "--virtual-time-budget=3000"]
    run_browser(page, *flags, dark=dark)
    if not png.is_file():
        raise LabError(f"{png}: the browser ended well but wrote no picture of {page}")


def run_browser(page: Path, *flags: str, dark: bool = False) -> str:
    """Open the local file `page` headless with `flags`; what the browser printed. LabError if it fails."""
    shown = ("--blink-settings=preferredColorScheme=" + ("0" if dark else "1"),)
    with tempfile.TemporaryDirectory(prefix="governor-browser-", ignore_cleanup_errors=True) as profile:
        command = [browser(), *FLAGS, *shown, *flags, f"--user-data-dir={profile}", page.resolve().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{page}: the browser did not end within {PATIENCE_S:.0f} s") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise LabError(f"{page}: the browser ended with {done.returncode}: {last[0]}")
    return done.stdout
