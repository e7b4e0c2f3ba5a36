"""Take the pictures of docs/run-report.md: the top of a run's report, and a section of it, in headless Chromium.

    .venv/bin/python scripts/run_report_picture.py runs/japanese-vowels/runs/<run>.html docs/images/run-report.png
    .venv/bin/python scripts/run_report_picture.py …/<run>.html docs/images/run-report-importance.png importance

Chromium is Debian's; Playwright downloads none.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 960, 1000
COLOURS = 64  # a page of text and charts needs no more, and the file is a third as large


def take(page: Path, out: Path, section: str = "") -> None:
    """Write the picture of a page's top, or of what is below a section's title."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        opened.goto(page.absolute().as_uri() + (f"#{section}" if section else ""))
        picture = Image.open(io.BytesIO(opened.screenshot())).convert("RGB")
        browser.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
