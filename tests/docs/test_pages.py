"""Every block of the tutorials runs as it stands, in the order of its page, in an empty folder.

`python` blocks of a page share their names, one with a title is a file of that name, `sh` blocks are run by bash, which
finds the command `rddrs` with its imports made. Pages that show the same run follow each other in one folder.
`console` blocks need what a test has not: a package index, SLURM, the data of MNIST. Those of docs/extend.md run in
test_extend.py.
"""

import json
import os
import re
import socket
import subprocess
import sys
from http.client import HTTPConnection
from http.server import HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from torch import nn

import rddrs

ROOT = Path(__file__).parents[2]
PAGES = ("index report", "own", "faq", "gallery", "threats", "paths", "proven", "configure", "sweeps", "deploy")
BLOCK = re.compile(r'^```(python|sh)(?: title="(.*?)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of classifiers that all pages share."""
    return tmp_path_factory.mktemp("classifiers")


@pytest.mark.filterwarnings("ignore")  # a reader's session has no such filter
@pytest.mark.parametrize("pages", PAGES)
def test_every_block_runs(
    pages: str, commands: Path, classifiers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "classifiers").symlink_to(classifiers)
    environment = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for page in pages.split():
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


def test_the_service_answers_whatever_other_clients_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one says nothing, and after bodies that are too long, of no length or of numbers beyond all floats."""
    blocks = BLOCK.findall((ROOT / "docs" / "deploy.md").read_text())
    (code,) = [text for _, title, text in blocks if title == "service.py"]
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    smoothed = rddrs.Smoothed(network, rddrs.Isotropic(0.5, 4), card={"shape": [1, 2, 2]})
    made: list[HTTPServer] = []
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["service.py", "model.rddrs", "0"])
        patched.setattr(rddrs, "load", lambda file: smoothed)
        patched.setattr(HTTPServer, "serve_forever", lambda self: made.append(self))
        exec(compile(code, "service.py", "exec"), {"__name__": "__main__"})
    (server,) = made
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()

    def ask(body: str, **headers: str) -> int:
        client = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        client.request("POST", "/", body, headers)
        answer = client.getresponse()
        assert answer.status != 200 or json.load(answer)["alpha"] == 1e-3
        return answer.status

    with socket.create_connection(("127.0.0.1", server.server_port)):
        assert ask('{"input": [0, 0, 0, 1]}') == 200
        assert ask('{"input": [0, 0, 0, 1%s]}' % (400 * "0")) == 400
        assert ask("{}", **{"Content-Length": "-1"}) == ask("{}", **{"Content-Length": "1000"}) == 400
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_page_is_in_the_navigation() -> None:
    stated, docs = (ROOT / "mkdocs.yml").read_text(), ROOT / "docs"
    assert all(f": {path.relative_to(docs)}\n" in stated for path in docs.rglob("*.md"))


def test_the_reference_has_every_public_name() -> None:
    """Of the library, on the page of its room and in the list of all; of two rooms whose names are their own."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    explained = {path.rsplit(".")[-1] for path in re.findall(r"^::: (\S+)$", pages, re.MULTILINE)}
    public = set(rddrs.__all__) - {"__version__"}
    assert explained >= public | set(rddrs.compat.__all__)
    listed = re.findall(r"`(\w+)`", (ROOT / "docs" / "reference" / "index.md").read_text())
    assert public <= set(listed)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code cells, one after the other, to a certified ellipsoid with more volume than the ball, and a path."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "tutorial.ipynb", "exec"), names)
    plain, shaped = names["plain"].certificate, names["shaped"].certificate
    assert plain.prediction == shaped.prediction == names["label"]
    assert shaped.proxy_radius > 2 * plain.proxy_radius and names["shaped"].fidelity.value > 0.9
    assert shaped.contains(names["points"]).tolist() == [True, False]
    assert names["right"] > 40 and names["path"].covers(0.0)
