"""A run of many inputs: its regions lie in archives, are resumed, shown and audited as those of single files."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load, save

from pipelines import prepared as module
from pipelines.certify import certify
from pipelines.prepare import prepare
from pipelines.proof import findings
from pipelines.run import run
from rddrs.archives import Archives
from rddrs.report import open_run
from tests.pipelines.test_config import settings

SMALL = ["data=toy2d", "data.subset=3", "data.reference=50", "method=ancer", "method.iterations=3", "train.epochs=1"]
SMALL += ["certify.samples=500", "certify.mode=memory", "certify.batch=128", "audit.inputs=1", "audit.samples=100"]


def test_a_packed_run_is_resumed_shown_and_audited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "FEW", 2)
    first = prepare(settings(*SMALL, "shard.count=2", f"output_root={tmp_path}"))
    certify(first)
    whole = prepare(settings(*SMALL, f"output_root={tmp_path}"))
    assert whole.run_folder == first.run_folder and whole.left
    run(whole)
    regions, indices = whole.places.regions, set(whole.indices)
    assert not whole.left and {path.suffix for path in regions.iterdir()} == {".tar"}
    assert len(list(regions.iterdir())) == len(list(tmp_path.glob("classifiers/*/sigma_x*/*"))) == 2, "one a process"
    assert {path.suffix for path in whole.places.memory.iterdir()} == {".tar"}
    artifacts = tmp_path / "mlartifacts" / whole.places.mlflow_run.read_text() / "artifacts"
    assert {path.name for path in (artifacts / "regions").iterdir()} == {path.name for path in regions.iterdir()}
    opened = open_run(whole.run_folder)
    assert {opened.certificate(index).index for index in indices} == indices
    assert findings(whole).wrong == []

    before = shutil.copytree(regions, tmp_path / "before")
    archives = Archives(regions)
    part = archives.find("100.safetensors")
    assert part is not None
    content = part.read()
    again = archives.copies()["0.safetensors"][0].read()
    archives.write("0.safetensors", _taking(again, certify_seconds=9.0))
    archives.write("100.safetensors", _taking(content, radius=9.0))
    archives.write("7.safetensors", content)
    wrong = {(it.file, it.column) for it in findings(whole).wrong}
    (added,) = {path.name for path in regions.iterdir()} - {path.name for path in before.iterdir()}
    assert {("regions/100.safetensors", "radius"), ("regions/7.safetensors", "file")} <= wrong
    assert ("regions/100.safetensors", "file") in wrong, "an earlier copy is another"
    assert ("regions/0.safetensors", "file") not in wrong, "the same but for its seconds"
    assert (f"regions/{added}", "sha256") in wrong, "the manifest names every archive"


def _taking(content: bytes, **values: float) -> bytes:
    """A region with other values in its record."""
    length = int.from_bytes(content[:8], "little")
    stated = json.loads(content[8 : 8 + length])["__metadata__"]
    record = json.loads(stated["record"]) | values
    return save(load(content), stated | {"record": json.dumps(record)})
