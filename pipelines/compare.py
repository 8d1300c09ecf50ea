"""Several runs side by side: `python -m pipelines.report runs=[KEY,KEY]` draws any set of finished runs."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from pipelines.config import SettingsError

if TYPE_CHECKING:
    from rddrs.report import Run


def read_run(folder: Path) -> "Run":
    """A finished run from its folder; raises SettingsError where there is none."""
    import pandas as pd

    from rddrs.report import Run
    from rddrs.store import Store

    if not (folder / "records.parquet").exists():
        found = sorted(path.parent.name for path in folder.parent.glob("*/records.parquet"))
        raise SettingsError(f"runs: {folder.name} is no finished run in {folder.parent}; there are {found}")
    text = (folder / "config.yaml").read_text()
    configuration = OmegaConf.create(text)
    records = pd.read_parquet(folder / "records.parquet")
    return Run(folder.name, configuration.method.name, configuration.sigma, records, Store(folder).load, text)


def compare_runs(root: Path, names: list[str]) -> Path:
    """Tables, figures and a page of the named runs below `root`; returns the folder that they are written to."""
    from rddrs.report import compare, comparison_figures, save, severity_figure, write_page
    from rddrs.store import replacing

    runs = [read_run(root / "runs" / name) for name in names]
    folder = root / "comparisons" / hashlib.sha256("\n".join(names).encode()).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    table = compare(runs)
    with replacing(folder / "comparison.csv") as part:
        table.to_csv(part, index=False)
    figures = comparison_figures(runs) | {"severities": severity_figure(runs)}
    for name, figure in figures.items():
        save(figure, folder / "figures" / name)
    write_page(folder / "report.html", runs, figures, "Comparison of " + ", ".join(dict.fromkeys(table["label"])))
    return folder
