"""The command `rddrs` and what it costs to ask it for help."""

import subprocess
import sys
from importlib import import_module

import pytest

import rddrs
from pipelines.command import STAGES, main


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


@pytest.mark.parametrize(
    ("code", "slow"),
    [
        ("import rddrs", {"torch", "pandas", "scipy"}),
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


def test_every_public_name_is_found() -> None:
    assert all(getattr(rddrs, name) is not None for name in dir(rddrs))
    with pytest.raises(AttributeError, match="no attribute 'prove'"):
        _ = rddrs.prove  # pyright: ignore[reportAttributeAccessIssue]
