"""What people type: signs that Hydra's grammar does not know, wrong keys, and numbers as they are said."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from pipelines.command import STAGES, main
from pipelines.compare import compare_runs
from pipelines.entry import CONFIGURATION
from pipelines.errors import SettingsError
from pipelines.prepare import prepare
from pipelines.report import report
from pipelines.words import explained, readable
from pipelines.work import check_place
from rddrs.records import OutputRoot
from tests.pipelines.test_config import settings

SIGNS = [
    "~/x",
    "a=b",
    "a(b)",
    "a b",
    "ä/数",
    "a?b",
    "a%20b",
    "a#b",
    "a'b",
    "lit=epoch=3-step=40.ckpt",
    "[x",
    "a&b;c",
    "a\\b",
]


@pytest.mark.parametrize("value", SIGNS)
def test_a_value_of_any_signs_is_the_text_that_was_typed(value: str) -> None:
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        found = compose("config", readable(["data=folder", f"data.root={value}"]))
    assert found.data.root == value


@pytest.mark.parametrize(
    "options", [["-m"], ["--multirun"], ["--cfg", "job"], ["-c", "job", "-m"], ["--cfg=job"], ["-r"]]
)
def test_options_may_stand_anywhere(options: list[str]) -> None:
    found = readable(["sigma=1", *options, "~threat", "seed=1"])
    assert found == ["sigma=1", "~threat", "seed=1", *options]
    assert get_args_parser().parse_args(found).overrides == found[:3]


@pytest.mark.parametrize("words", [["a.b"], ["sigma"], ["-m", "data.root=~/x,~/y"], ['data.root=a"b(']])
def test_what_cannot_be_read_says_how_to_write_it(words: list[str]) -> None:
    with pytest.raises(
        ValueError, match=r"KEY=VALUE is needed|the value holds signs that mean something to Hydra: write '"
    ):
        readable(words)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ('certify.paths={"rotation+brightness": [1, 0.01], blur: 2}', {"rotation+brightness": [1, 0.01], "blur": 2}),
        ("certify.paths={'rotation': 5}", {"rotation": 5}),
        ('data.root=a"b(', 'a"b('),
        ('data.root="a\\"', '"a\\"'),
        ("data.root='it\"s", "'it\"s"),
    ],
)
def test_what_is_suggested_works_when_it_is_pasted_into_a_shell(word: str, meant: object) -> None:
    with pytest.raises(ValueError, match=": write ") as error:
        readable([word])
    command = str(error.value).partition(": write ")[2]
    pasted = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, text=True, check=True).stdout
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        found = compose("config", readable(["data=folder", pasted]))
    assert OmegaConf.select(found, word.partition("=")[0]) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sgima=0.5"], "sgima=0.5: there is no such key: sigma?"),
        (["certify.sample=9"], "certify.sample=9: there is no such key: certify.samples?"),
        (["data=folder", "data.rot=x"], "data.rot=x: there is no such key: data.root?"),
        (["method=RDDR"], "method=RDDR: there is no such method: rddrs? There are ancer"),
        (["qqqq=1"], "qqqq=1: there is no such key"),
        (["sigma=1,2"], "sigma=1,2: write sigma=[1,2] for a list, 'sigma=\"1,2\"' for a text, or --multirun for each"),
    ],
)
def test_a_wrong_key_asks_for_the_right_one(words: list[str], message: str) -> None:
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"), pytest.raises(Exception) as caught:
        compose("config", readable(words))
    assert explained(caught.value, words, str(CONFIGURATION)).startswith(message)


def test_numbers_names_and_places_are_taken_as_they_are_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [
        "data.subset=all",
        "certify.samples=1e5",
        "threat=brightness",
        "runs=KEY",
        "output_root=~/o",
        "train.epochs=3.0",
    ]
    found = settings("data=toy2d", *readable(words))
    assert (found.data.subset, found.certify.samples, found.train.epochs) == (None, 100_000, 3)
    assert (found.threat, found.runs, found.root) == ({"brightness": 1.0}, ["KEY"], tmp_path / "o")
    assert isinstance(found.certify.samples, int)
    with pytest.raises(SettingsError, match=r"certify.samples=1.5"):
        settings("certify.samples=1.5")
    with pytest.raises(SettingsError, match=r"^data.root: Missing mandatory value: root$"):
        settings("data=folder")


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rddrs", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code if isinstance(caught.value.code, int) else 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "there is no stage rnu: run?"),
        (["method=rs"], "a stage comes first: rddrs run method=rs"),
        (["run", "sgima=0.5"], "there is no such key: sigma?"),
        (["run", "sigma"], "error: sigma: KEY=VALUE is needed"),
        (["run", "sigma=wide"], "error: sigma=wide: "),
        (["run", "method=rs", "certify=null"], "error: certify=null: one of default is needed"),
        (["run", "experiment=figur2"], "error: experiment=figur2: there is no such experiment: figure2?"),
        (["run", "data=nowhere"], "error: data=nowhere: there is no such data: There are arrays, "),
        (["run", "output_root=/dev/null/x"], "error: output_root"),
        (["run", "data=folder"], "error: data.root: "),
    ],
)
def test_every_error_of_usage_is_one_message_and_exit_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rddrs ", "run"),
        ("rddrs re", "report"),
        ("rddrs run method=", "method=rddrs"),
        ("rddrs run certify.sam", "certify.samples="),
    ],
)
def test_a_shell_completes_stages_and_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    monkeypatch.setattr(sys, "argv", ["rddrs", "-sc", "query=bash"])
    with pytest.raises(SystemExit) if line.count(" ") < 2 else nullcontext():
        main()
    told = capsys.readouterr().out
    assert expected in told.split() and "usage" not in told


def test_help_is_a_word_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rddrs", "help"])
    main()
    told = capsys.readouterr().out
    assert all(f"\n  {stage} " in told for stage in STAGES)


@pytest.mark.parametrize("make", [lambda path: path.write_text(""), lambda path: path.symlink_to("/proc/self/nowhere")])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "x")
    with pytest.raises(SettingsError, match=r"output_root=.*: a folder that can be written is needed"):
        check_place(tmp_path / "x")
    check_place(tmp_path / "new" / "y")


def test_a_report_of_nothing_says_so_and_begins_nothing(tmp_path: Path) -> None:
    prepared = prepare(settings("data=toy2d", "method=rs", f"output_root={tmp_path}"))
    (tmp_path / "runs" / "abc-1").mkdir(parents=True)
    (tmp_path / "runs" / "abc-1" / "records.parquet").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"nothing is certified with these keys: rddrs run .*there are abc-1"):
        report(prepared)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_runs_are_named_by_how_they_begin(tmp_path: Path) -> None:
    for name in ("abc-1", "abc-2", "abd", "abd-3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "records.parquet").write_bytes(b"")
    named = OutputRoot(tmp_path).named
    assert [named(name) for name in ("abc-1", "abd", "abd-", "none")] == ["abc-1", "abd", "abd-3", "none"]
    with pytest.raises(SettingsError, match="runs: abc: several begin so: abc-1, abc-2"):
        compare_runs(tmp_path, ["abc"])


def test_an_exception_of_a_users_own_code_is_shown_without_ours(commands: Path, tmp_path: Path) -> None:
    """In the middle of the work, where nothing tried it before."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ncalls = []\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); self.a = nn.Linear(2, 3)\n"
        "    def forward(self, x):\n        if len(x) > 100 and len(x) != 500: raise KeyError('too many rows')\n"
        "        return self.a(x)\n"
    )
    words = ["data=toy2d", "classifier=own", "classifier._target_=mine.Net", "classifier.weights=own", "method=rs"]
    words += ["certify.batch=128", "data.subset=1", "data.reference=50", "certify.samples=500"]
    command = [commands / "rddrs", "certify", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "KeyError: 'too many rows'" in done.stderr, done.stderr
    assert "pipelines/certify.py" not in done.stderr
