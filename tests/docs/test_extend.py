"""Every recipe of docs/extend.md: what it adds, from outside of the package, is used from the command line."""

import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hydra.utils import get_object
from safetensors.torch import load_file
from torch import Tensor

from pipelines.command import main
from tests.docs.test_pages import BLOCK, ROOT
from tests.tables import copied

copied()

BLOCKS: list[tuple[str, str, str]] = BLOCK.findall((ROOT / "docs" / "extend.md").read_text())
FILES = {title: text for _, title, text in BLOCKS if title}
COMMANDS = [text for language, _, text in BLOCKS if language == "sh"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files of all recipes, in which the recipes are followed one after the other."""
    folder = tmp_path_factory.mktemp("extend")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder
    signal.signal(signal.SIGINT, handler)
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def configured(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


def records(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "records.parquet")


def trained(run: Path) -> dict[str, Tensor]:
    """The weights of the one network of a user's own."""
    (weights,) = run.parents[1].glob("classifiers/toy2d-ring-*/weights.safetensors")
    return load_file(weights)


USED: dict[str, Callable[[Path], bool]] = {
    "wider": lambda run: configured(run)["method"]["factor"] == 0.8 and 0.5 not in set(records(run)["scale_max"]),
    "rings": lambda run: configured(run)["data"]["name"] == "rings" and len(records(run)) == 3,
    "ring": lambda run: trained(run)["layers.0.weight"].shape == (8, 3),
    "focal": lambda run: configured(run)["train"]["objective"] == {"_target_": "focal.Focal", "power": 1},
    "veil": lambda run: bool((records(run)["severity_veil"] > 0).any()) and "severity_veil_tested" not in records(run),
    "margins": lambda run: (run / "figures" / "by_class.png").stat().st_size > 0,
}
"""What a run shows that took what the recipe added."""


@pytest.mark.filterwarnings("ignore")  # a reader's session has no such filter
@pytest.mark.parametrize(("name", "command"), [*zip(USED, COMMANDS, strict=True)], ids=USED)
def test_a_recipe_is_followed(folder: Path, name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{name}.py" in FILES and f"{name}." in command
    monkeypatch.setattr(sys, "argv", shlex.split(command.replace("\\\n", "")))
    main()
    last = max(folder.glob("outputs/runs/*/report.html"), key=lambda page: page.stat().st_mtime)
    assert USED[name](last.parent)


def test_every_signpost_stands_where_it_says() -> None:
    page = (ROOT / "docs" / "extend.md").read_text()
    table = page.partition("Where a question is answered:")[2].partition("\n\nA run")[0]
    names = re.findall(r"`((?:rddrs|pipelines)\.[\w.]+)`", table)
    assert len(names) >= 9 and all(get_object(name) for name in names)
