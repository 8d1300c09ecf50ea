"""What axe finds on pages, in a browser: barriers for people who cannot see, point or tell colours apart.

`python -m tests.accessible FOLDER...` opens every page below the folders on light and dark ground, 1400 and 390 pixels
wide, prints what is serious or critical, and ends with status 1 where anything is.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser import blank_page

VIEWS = tuple(product(("light", "dark"), (1400, 390)))


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


if __name__ == "__main__":
    files = [file for place in sys.argv[1:] for file in sorted(Path(place).rglob("*.html"))]
    with blank_page() as page:
        found = [barrier for file in files for barrier in barriers_of(page, file.resolve().as_uri())]
    print("\n".join([*found, f"{len(files)} pages, {len(found)} serious or critical findings"]))
    sys.exit(bool(found) or not files)
