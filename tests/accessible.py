"""What axe finds on pages, in a browser: barriers for people who cannot see, point or tell colours apart.

`python -m tests.accessible FOLDER...` opens every page below the folders on light ground, 1400 pixels wide, and on
dark, 390 pixels, prints what is serious or critical, and ends with status 1 where anything is.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser import blank_page

VIEWS = (("light", 1400), ("dark", 390))


def barriers(page: Page) -> list[str]:
    """The serious and critical findings of axe on the page as it stands: rule, element and why."""
    found = Axe().run(page).response["violations"]
    return [
        f"{finding['id']}: {' '.join(node['target'])}: {node['failureSummary'].splitlines()[-1].strip()}"
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]


def barriers_of(
    page: Page, address: str, ready: str = "body", views: Sequence[tuple[Any, int]] = VIEWS
) -> Iterator[str]:
    """The barriers of the page at an address, on grounds and at widths, once `ready` is on it."""
    for ground, width in views:
        page.emulate_media(color_scheme=ground, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 1000})
        page.goto(address)
        page.wait_for_selector(ready)
        yield from (f"{address} {ground} {width}: {barrier}" for barrier in barriers(page))


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on this machine alone: pages may name their parts from its root."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


if __name__ == "__main__":
    found, count = [], 0
    for folder in map(Path, sys.argv[1:]):
        with served(folder) as address, blank_page() as page:
            for file in sorted(folder.rglob("*.html")):
                found += barriers_of(page, f"{address}/{file.relative_to(folder).as_posix()}")
                count += 1
    print("\n".join([*found, f"{count} pages, {len(found)} serious or critical findings"]))
    sys.exit(bool(found) or not count)
