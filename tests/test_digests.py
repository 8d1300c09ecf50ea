"""A user's own code is known by its files: what is changed in any of them, or in what they import, is other code."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rddrs.digests import source_digest

FILES = {
    "own_net.py": "from torch import nn\nfrom own_parts import blocks\nclass Net(nn.Module): pass\n",
    "own_parts/__init__.py": "",
    "own_parts/blocks.py": "from .sizes import WIDTH\ndef late():\n    import own_late\n",
    "own_parts/sizes.py": "WIDTH = 8\n",
    "own_late.py": "",
    "own_other.py": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("own_net")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_own_code_is_made_of_counts_and_no_other(folder: Path, name: str) -> None:
    before = source_digest(["own_net.Net"])
    assert len(before) == 64 and before == source_digest(["own_net.Net"])
    (folder / name).write_text(FILES[name] + "# changed\n")
    assert (source_digest(["own_net.Net"]) == before) == (name == "own_other.py")


def test_what_has_a_version_or_no_file_is_not_looked_at() -> None:
    assert source_digest(["rddrs.models.Perceptron", "torch.nn.Linear", "json.dumps", "nowhere.at.all", ""]) == ""
    assert source_digest(["numpy.linalg"]), "what is named is seen, whoever's it is"
