"""Makes the README's picture: the top of a model report as a browser shows it, in few colours.

    uv run foryou report CHECKPOINT --out report.html
    uv run python docs/report_picture.py report.html docs/pictures/model_report.png

Needs a Chromium (Debian: apt-get install chromium) as CHROMIUM or on the path.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT = 1_100, 1_540  # pixels; the height shows quality and the first reliability curves
COLOURS = 64  # of text, lines and surfaces; photographs would need more
BYTES_MAX = 200_000  # what a README may ask of a reader
SECONDS_MAX = 300.0


def browser() -> str:
    """Path of a Chromium; SystemExit says how to get one."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        sys.exit("no Chromium: apt-get install chromium, or name one with CHROMIUM")
    return found


def screenshot(page: Path, target: Path, height: int) -> None:
    """The page's top in the light scheme. CalledProcessError where the browser fails."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser(), "--headless", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={profile}", f"--window-size={WIDTH},{height}",
            f"--screenshot={target.resolve()}", page.resolve().as_uri(),
        ]  # fmt: skip
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium has no sandbox for root
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS_MAX)


def shrink(path: Path) -> None:
    """Fewer colours, in place. SystemExit: still too large for a README."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    size = path.stat().st_size
    if size > BYTES_MAX:
        sys.exit(f"{path} has {size} bytes, at most {BYTES_MAX} are wanted: lower --height")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a report")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--height", type=int, default=HEIGHT, help="pixels from the top")
    arguments = parser.parse_args()
    if not arguments.page.is_file():
        sys.exit(f"{arguments.page} is no file; foryou report CHECKPOINT --out makes one")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    screenshot(arguments.page, arguments.out, arguments.height)
    shrink(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
