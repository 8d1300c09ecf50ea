"""A finished run, opened again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.figure import Figure

from rddrs.certification import Certificate, Smoothed
from rddrs.records import Ledger, Store
from rddrs.report.deployed import smoothed_of
from rddrs.report.figures import run_figures
from rddrs.report.severities import severity_figure
from rddrs.report.tables import Run, compare


@dataclass(frozen=True, eq=False, repr=False)
class OpenedRun(Run):
    """A `Run` with its certificates: `certificate(index)` is what the run claims of an input, after the memory."""

    certificate: Callable[[int], Certificate] = field(kw_only=True)
    folder: Path = field(kw_only=True)

    @property
    def smoothed(self) -> Smoothed:
        """The classifier that was certified, for use: it predicts, certifies, and can be saved in one file.

        Raises ValueError where every input has a C of its own, and where the network is not found.
        """
        return smoothed_of(self.folder, self.records)

    @property
    def table(self) -> pd.DataFrame:
        """The records, one row an input."""
        return self.records

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of the run's page by their names, drawn anew."""
        return run_figures(self) | {"severities": severity_figure([self])}

    def __repr__(self) -> str:
        return f"OpenedRun({self.name}: {len(self.records)} inputs)"

    def _repr_html_(self) -> str:
        return compare([self]).T.to_html(header=False)


def open_run(folder: str | Path) -> OpenedRun:
    """The finished run in a folder `outputs/runs/<key>`, wherever it lies now: its table, certificates and figures.

    Raises ValueError where there is none. What is read is what the files state: `rddrs audit` proves it.
    """
    folder = Path(folder)
    if not (folder / "records.parquet").is_file():
        raise ValueError(f"{folder} is no finished run: it holds no records.parquet")
    text = (folder / "config.yaml").read_text()
    stated, store = yaml.safe_load(text), Store(folder)
    claimed = store.certificate
    if stated["certify"]["mode"] == "memory":
        claimed = Ledger(folder / "memory", store.certificate).claimed
    records = pd.read_parquet(folder / "records.parquet")
    name, method = folder.resolve().name, stated["method"]["name"]
    return OpenedRun(name, method, stated["sigma"], records, store.load, text, certificate=claimed, folder=folder)
