"""The command `rddrs` and what it costs to ask it for help."""

import gc
import os
import signal
import subprocess
import sys
from importlib import import_module

import pytest

import rddrs
from pipelines.command import STAGES, main
from pipelines.help import FIRST, known
from pipelines.importing import uncollected
from pipelines.progress import bar_of, tracked


def ask(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["rddrs", *words])
    main()


def test_it_tells_its_stages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ask(monkeypatch)
    told = capsys.readouterr().out
    assert all(f"\n  {stage} " in told for stage in STAGES)
    ask(monkeypatch, "--version")
    assert capsys.readouterr().out.count(".") == 2
    with pytest.raises(SystemExit, match="2"):
        ask(monkeypatch, "prove")
    assert "there is no stage prove" in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_function_of_its_module(stage: str) -> None:
    assert callable(getattr(import_module(f"pipelines.{stage}"), stage))


def test_a_stage_takes_the_rest_of_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        ask(monkeypatch, "run", "sigma=-1")
    assert caught.value.code == 2 and "error: sigma=-1" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_is_stopped_says_that_what_was_finished_is_kept(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends as by an exception, so that what it started, the processes of a launcher among it, is ended, too."""

    def work(*_: object) -> None:
        assert signal.getsignal(number) is not signal.SIG_DFL
        signal.raise_signal(number)

    monkeypatch.setattr("pipelines.work.work", work)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit, match="130"):
            ask(monkeypatch, "run")
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "stopped; what was finished is kept: run the same command again to go on\n"


@pytest.mark.parametrize(
    ("code", "slow"),
    [
        ("import rddrs", {"torch", "pandas", "scipy", "seaborn"}),
        (
            "import sys; sys.argv = ['rddrs', 'run', '--help']\nfrom pipelines.command import main; main()",
            {"torch", "pydantic", "pandas"},
        ),
    ],
    ids=["import", "help"],
)
def test_slow_packages_are_imported_when_they_are_needed(code: str, slow: set[str]) -> None:
    check = f"import atexit, sys\natexit.register(lambda: print('imported', *({slow} & set(sys.modules))))\n{code}"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported"


def test_garbage_is_collected_again_after_imports() -> None:
    with pytest.raises(ModuleNotFoundError), uncollected():
        assert not gc.isenabled()
        import_module("rddrs.nothing")
    assert gc.isenabled()


def test_every_public_name_is_found() -> None:
    assert all(getattr(rddrs, name) is not None for name in dir(rddrs))
    with pytest.raises(AttributeError, match="no attribute 'prove'"):
        _ = rddrs.prove  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_help_of_a_stage_is_of_its_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ask(monkeypatch, stage, "--help", "method=ancer")
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert lines[0].startswith(f"usage: rddrs {stage} ") and max(map(len, lines[1:])) <= width
    keys = [line.strip().partition("=")[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert keys[: len(FIRST[stage])] == list(FIRST[stage]) and len(keys) == len({*keys})
    assert ("method.gamma" in keys) == (stage in ("run", "certify")) and "method.mu" not in keys
    assert ("audit.outside" in keys) == (stage == "audit")


def test_help_explains_what_the_files_say() -> None:
    found = known(["data=mnist", "method=rddrs"])
    assert found["certify.alpha"] == ("1e-3", "a certificate is false with at most this probability")
    assert found["classifier"][0] == "lenet" and found["method.guard"][0] == "0.97"


def test_no_bar_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked(range(3), "work")) == [0, 1, 2]
    with bar_of(2, "train") as done:
        done(1.5)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["report", "--cfg", "job"]])
def test_a_command_whose_reader_leaves_ends_silently(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from pipelines.command import main; main()", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
