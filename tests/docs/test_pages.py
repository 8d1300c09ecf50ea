"""Every block of the tutorials runs as it stands, in the order of its page, in an empty folder.

`python` blocks of a page share their names, one with a title is a file of that name, `sh` blocks are run by bash, which
finds the command `rddrs` with its imports made.
`console` blocks need what a test has not: a package index, SLURM, the data of MNIST. Those of docs/extend.md run in
test_extend.py.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("index", "own", "threats", "paths", "proven", "report", "configure", "sweeps", "deploy")
BLOCK = re.compile(r'^```(python|sh)(?: title="(.*?)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of classifiers that all pages share."""
    return tmp_path_factory.mktemp("classifiers")


@pytest.mark.filterwarnings("ignore")  # a reader's session has no such filter
@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(
    page: str, commands: Path, classifiers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "classifiers").symlink_to(classifiers)
    environment = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    names: dict[str, Any] = {}
    blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text())
    assert blocks
    for language, title, text in blocks:
        if title:
            Path(title).write_text(text)
        elif language == "python":
            exec(compile(text, f"docs/{page}.md", "exec"), names)
        else:
            done = subprocess.run(["bash", "-euc", text], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_every_page_is_in_the_navigation() -> None:
    stated = (ROOT / "mkdocs.yml").read_text()
    assert all(f": {path.name}\n" in stated for path in (ROOT / "docs").glob("*.md"))
