"""The library works where mlflow, Hydra and Lightning are not; what needs them says in one line how they come."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BLOCKED = """
import sys
for name in ("mlflow", "hydra", "omegaconf", "pytorch_lightning", "lightning_fabric"):
    sys.modules[name] = None
"""

LIBRARY = """
import torch, rddrs, rddrs.compat, rddrs.training.cotraining
from rddrs.training.objectives import Gaussian
from pipelines import export, predict

network, x = torch.nn.Linear(4, 2).eval(), torch.ones(4)
with torch.no_grad():
    network.weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4]))
proposal = rddrs.ANCER(iterations=2).propose(network, x, sigma=0.5)
certificate = rddrs.certify(network, x, proposal.scale, samples=1000)
assert certificate.prediction == 0 and certificate.radius > 0
assert not rddrs.audit(network, certificate, x, samples=500).flags
rddrs.Smoothed(network, proposal.scale).save("model.rddrs", shape=(4,))
smoothed = rddrs.load("model.rddrs")
assert smoothed.predict(x[None], samples=100).tolist() == [0]
assert smoothed.certify_path(x, "brightness", -0.1, 0.1, samples=1000, clamp=None).high > 0
assert all(getattr(rddrs, name) for name in rddrs.__all__)
import rddrs.training.fit
"""

COMMAND = """
sys.argv[1:] = ["run", "method=rs"]
from pipelines.command import main
main()
"""


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        (LIBRARY, 1, "ModuleNotFoundError: pytorch_lightning is not installed, which training needs: {}"),
        (COMMAND, 2, "error: hydra is not installed, which the pipeline needs: {}"),
    ],
)
def test_the_library_needs_no_package_of_the_pipeline(tmp_path: Path, code: str, status: int, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, last) == (status, line.format("pip install 'rddrs[pipeline]'")), done.stderr
