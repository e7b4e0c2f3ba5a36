"""Take the pictures of the documentation: the top of a page, or of a section of it, in headless Chromium.

    .venv/bin/python scripts/page_picture.py runs/vowels/runs/<run>.html docs/images/run-report.png
    .venv/bin/python scripts/page_picture.py …/<run>.html docs/images/run-report-importance.png --section importance
    .venv/bin/python scripts/page_picture.py http://127.0.0.1:8080/root/plant/model/pumps docs/images/dashboard.png

A page is a file, or the address of a dashboard that runs. Chromium is Debian's; Playwright downloads none.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

COLOURS = 64  # a page of text and charts needs no more, and the file is a third as large


def take(
    address: str, out: Path, *, section: str = "", width: int = 960, height: int = 1000, dark: bool = False
) -> None:
    """Write the picture of a page.

    Args:
        address: a file, or a URL.
        out: PNG to write.
        section: id of the element that is at the top; empty: the page's top.
        width: of the window, in pixels.
        height: likewise; 0: of the whole page.
        dark: whether the reader prefers dark pages.
    """
    url = address if "://" in address else Path(address).absolute().as_uri()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": height or 1000}, color_scheme="dark" if dark else "light"
        )
        page.goto(url + (f"#{section}" if section else ""))
        picture = Image.open(io.BytesIO(page.screenshot(full_page=not height))).convert("RGB")
        browser.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("out", type=Path)
    parser.add_argument("--section", default="")
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--height", type=int, default=1000, help="0: the whole page")
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    take(given.address, given.out, section=given.section, width=given.width, height=given.height, dark=given.dark)


if __name__ == "__main__":
    main()
