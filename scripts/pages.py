"""What mkdocs cannot do by itself: formulas as MathML, which a browser sets alone, and a notebook as a page."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:span|div)>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Set the formulas of a page; one that stands alone scrolls where it is wider than the page, and so do tables."""

    def formula(found: re.Match[str]) -> str:
        inline = found[1] == "("
        it = convert(unescape(found[2]), "inline" if inline else "block")
        return it if inline else f'<div class="formula" tabindex="0">{it}</div>'

    return FORMULA.sub(formula, html).replace("<table>", '<table tabindex="0">')  # to be scrolled by keys


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the tutorial, which is kept as a notebook."""
    cells = json.loads((Path(config.docs_dir) / "tutorial.ipynb").read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(cells, texts, strict=True)
    ]
    parts.insert(1, "The same as a notebook: [tutorial.ipynb](tutorial.ipynb).")
    files.append(File.generated(config, "tutorial.md", content="\n\n".join(parts)))
    return files


def on_post_page(output: str, **_: Any) -> str:
    """Name the dialog of the search, for those who hear the page."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def on_post_template(output: str, **_: Any) -> str:
    """The same on the page of what is not found."""
    return on_post_page(output)
