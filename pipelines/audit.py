"""Stage 4, on demand: try to break the certificates of a run, and check that what it shows follows from them.

`python -m pipelines.audit` exits with 1 where it can. `run=FOLDER` audits a run that was made elsewhere, with nothing
but its folder, the weights and the data.
"""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.entry import entry
from pipelines.proof import findings, terms_of

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.prepare import Prepared
    from rddrs.records import Difference


def audit(prepared: "Prepared") -> None:
    """Audit a finished run: tables, a figure, MLflow; exit status 1 if a certificate is broken or a value is wrong."""
    import numpy as np
    from rich.console import Console

    from rddrs.files import replacing, write_text
    from rddrs.report import audit_figure, audit_table, outside_shares, save

    settings, folder, options = prepared.settings, prepared.run_folder, prepared.settings.audit
    found = findings(prepared)
    table, wrong = found.table, found.wrong
    if not len(table):
        name(wrong, folder)
        sys.exit(1)
    broken = table[table["flags"] != ""]
    summary: dict[str, Any] = {
        "audited": len(table),
        "broken": len(broken),
        "overlaps": len(found.pairs),
        "wrong_values": len(wrong),
        "contradictions": int(np.nansum(table["contradictions"].to_numpy(float))),
        "expected_false_alarms": len(table)
        * ((2 + len(prepared.paths)) * options.false_alarm + (1 + len(prepared.paths)) * settings.certify.alpha),
    }
    summary |= {f"outside/{name}": share for name, share in outside_shares(table).items()}
    details = {"terms": asdict(terms_of(prepared)), "overlapping_pairs": found.pairs, "notes": found.notes}
    details["differences"] = [asdict(it) for it in wrong]
    with replacing(folder / "audit.parquet") as part:
        table.to_parquet(part, index=False)
    write_text(folder / "audit.json", json.dumps(summary | details, indent=2, default=str) + "\n")
    save(audit_figure(table), folder / "figures" / "audit")
    if settings.run is None:
        track(prepared, summary)
    console = Console(soft_wrap=True)
    console.print(audit_table(summary, table))
    console.print(f"written to   {folder / 'audit.parquet'}")
    for note in found.notes:
        console.print(f"note         {note}", markup=False, highlight=False)
    name(wrong, folder)
    overlapping = found.pairs if settings.certify.mode == "memory" else []
    if len(broken) or overlapping:
        inputs = broken["index"].tolist()
        console.print(f"[bold red]broken certificates[/]: inputs {inputs}; overlapping pairs {found.pairs}")
    if len(broken) or overlapping or wrong:
        sys.exit(1)


def name(wrong: "list[Difference]", folder: "Path") -> None:
    """Say which values are wrong: file, input and column of each."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True)
    for difference in wrong[:20]:
        console.print(f"[bold red]wrong[/]  {escape(str(difference))}", highlight=False)
    if len(wrong) > 20:
        console.print(f"and {len(wrong) - 20} more in {folder}")


def track(prepared: "Prepared", summary: dict[str, Any]) -> None:
    """Add what the audit found to the run in MLflow."""
    from rddrs.records.tracking import Tracker

    folder = prepared.run_folder
    tracker = Tracker(prepared.settings.root, folder.name, folder / "mlflow_run_id", {"stage": "certify"})
    tracker.metrics({f"audit/{name}": value for name, value in summary.items()})
    tracker.link([folder / "audit.parquet", folder / "audit.json"], "audit")
    tracker.link((folder / "figures").glob("audit.*"), "figures")
    tracker.finish()


if __name__ == "__main__":
    entry(audit)()
