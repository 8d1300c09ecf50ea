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

from pipelines.prepare import prepare
from pipelines.run import run
from rddrs.records.tracking import database
from tests.browser import Browser
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
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host=127.0.0.1", f"--port={port}"], stdout=log, stderr=log, start_new_session=True
        )
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


def test_runs_their_comparison_and_a_figure_are_drawn(root: Path, address: str, browser: Browser) -> None:
    folders = sorted((root / "runs").iterdir())
    browser.open(f"{address}?{PAGE}")
    for folder in folders:
        browser.wait(f"document.body.innerText.includes('{folder.name}')")
    browser.wait(f"Object.keys({DRAWN}).length == {len(folders)}")
    drawn = browser.evaluate(DRAWN)
    for folder in folders:
        table = pd.read_parquet(folder / "records.parquet")
        assert dict(drawn[folder.name]) == pytest.approx(dict(zip(table["index"], table["ball_radius"], strict=True)))

    one = f"{address}/{(folders[0] / 'mlflow_run_id').read_text()}"
    browser.open(f"{one}/artifacts/figures/eigenvectors.png?{PAGE}")
    browser.wait("[...document.images].some(image => image.src.startsWith('blob:') && image.naturalWidth > 1000)")
    browser.open(f"{one}/artifacts/records/records.csv?{PAGE}")
    browser.wait("document.body.innerText.includes('proxy_radius')")
    browser.open(f"{one}/model-metrics?{PAGE}")
    browser.wait(f"{SCROLL}, [...document.images].some(image => /region/.test(image.src) && image.naturalWidth > 300)")
