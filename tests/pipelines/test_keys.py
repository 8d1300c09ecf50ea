"""Finished runs are found: the keys of version 0.7.0, stored, are those of the same configurations today."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipelines.test_config import prepared

STORED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("keys.json").read_text())
"""By the words of a command line: the keys of the run and of its classifier, of data whose digest is "data"."""


@pytest.mark.parametrize("words", STORED, ids=lambda words: words or "defaults")
def test_the_keys_of_finished_runs_stay(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.prepared.__version__", "0.7.0")
    found = replace(prepared(*words.split()), data_digest="data")
    assert {"run": found.run_folder.name, "classifier": found.classifier_folder.name} == STORED[words]
