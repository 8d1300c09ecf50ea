"""The dashboard as a researcher sees it: MLflow's own server on the loopback, its pages drawn by a real browser."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page

from pipelines.prepare import prepare
from pipelines.run import run
from rddrs.records.tracking import database
from tests.pipelines.test_config import settings

SMALL = ["data=digits", "data.subset=4", "data.reference=50", "train.epochs=2", "certify.samples=2000"]
METHODS = ["rs", "ancer"]
PAGE = "workflowType=machine_learning&compareRunsMode=CHART"

DRAWN = """Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')]
  .filter(plot => plot.querySelector('path.js-line')).flatMap(plot => plot.data)
  .filter(trace => trace.metricKey == 'input/ball_radius' && trace.y.length)
  .map(trace => [trace.name, Array.from(trace.x, (step, k) => [step, trace.y[k]])]))"""

SCROLL = """[...document.querySelectorAll('*')].filter(one => !one.children.length && /region$/.test(one.textContent))
  .map(title => title.scrollIntoView({block: 'center'})).length || document.querySelectorAll('div').forEach(part => {
    const hidden = part.scrollHeight - part.clientHeight;
    if (hidden > 200) part.scrollTop = (part.scrollTop + 300) % hidden; })"""
"""The page draws the charts that are in sight: look for the one of the regions, and stay there."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    for method in METHODS:
        few = ["method.iterations=3"] if method == "ancer" else []
        run(prepare(settings(*SMALL, f"method={method}", *few, f"output_root={root}")))
    return root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    """Where `mlflow ui` serves the database: on this machine alone, on a port that was free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", database(root), "--workers=1"]
    without_jobs = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # each a process, idle here
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host=127.0.0.1", f"--port={port}"],
            env=without_jobs, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(server, f"http://127.0.0.1:{port}/health", root / "server.log")
            yield f"http://127.0.0.1:{port}/#/experiments/1/runs"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def wait_for(server: subprocess.Popen, health: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(health):
                return
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def show(page: Page, address: str) -> None:
    """Load a page in full, even where the address differs in its fragment only."""
    page.goto("about:blank")
    page.goto(address)


def test_runs_their_comparison_and_a_figure_are_drawn(root: Path, address: str, page: Page) -> None:
    folders = sorted((root / "runs").iterdir())
    show(page, f"{address}?{PAGE}")
    for folder in folders:
        page.wait_for_function(f"document.body.innerText.includes('{folder.name}')")
    page.wait_for_function(f"Object.keys({DRAWN}).length == {len(folders)}")
    drawn = page.evaluate(DRAWN)
    for folder in folders:
        table = pd.read_parquet(folder / "records.parquet")
        assert dict(drawn[folder.name]) == pytest.approx(dict(zip(table["index"], table["ball_radius"], strict=True)))

    one = f"{address}/{(folders[0] / 'mlflow_run_id').read_text()}"
    show(page, f"{one}/artifacts/figures/eigenvectors.png?{PAGE}")
    page.wait_for_function("[...document.images].some(one => one.src.startsWith('blob:') && one.naturalWidth > 1000)")
    show(page, f"{one}/artifacts/records/records.csv?{PAGE}")
    page.wait_for_function("document.body.innerText.includes('proxy_radius')")
    show(page, f"{one}/model-metrics?{PAGE}")
    region = "[...document.images].some(image => /region/.test(image.src) && image.naturalWidth > 300)"
    page.wait_for_function(f"{SCROLL}, {region}", polling=200)
