"""Take the picture of docs/dashboard.md: the top of a page of a dashboard that runs, in headless Chromium.

    .venv/bin/python scripts/dashboard_picture.py http://127.0.0.1:8080/root/plant/model/pumps docs/images/dashboard.png

Chromium is Debian's; Playwright downloads none.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 1000
COLOURS = 64  # as scripts/run_report_picture.py


def take(address: str, out: Path) -> None:
    """Write the picture of a page's top."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        opened.goto(address)
        picture = Image.open(io.BytesIO(opened.screenshot())).convert("RGB")
        browser.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
