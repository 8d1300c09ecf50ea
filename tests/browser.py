"""A page in the system's Chromium, without a window: for pages whose scripts draw them.

`python -m tests.browser URL FILE [SECONDS]` writes a picture of a page, as docs/dashboard.png was made.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def chromium() -> str | None:
    """The path of a Chromium on this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def blank_page() -> Iterator[Page]:
    """An empty page in a browser of its own."""
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium(), args=FLAGS) as browser:
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(120_000)
        yield page


if __name__ == "__main__":
    with blank_page() as page:
        page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        page.goto(sys.argv[1])
        page.wait_for_timeout(1000 * float(sys.argv[3]) if len(sys.argv) > 3 else 15_000)
        page.screenshot(path=sys.argv[2])
