"""Stage 4, on demand: try to break the certificates of a run, and check that what it shows follows from them.

`python -m pipelines.audit` exits with 1 where it can. `run=FOLDER` audits a run that was made elsewhere, with nothing
but its folder, the weights and the data.
"""

from pipelines.entry import entry

if __name__ == "__main__":  # the configuration is read before torch is imported
    entry("audit")()

import json
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from pipelines.prepared import Prepared
from pipelines.proof import findings
from pipelines.told import near
from rddrs.files import replacing, write_text
from rddrs.records import Difference, RunFolder
from rddrs.records.tracking import Tracker
from rddrs.report import audit_figure, audit_table, outside_shares, save
from rddrs.trust import expected_false_alarms


def audit(prepared: Prepared) -> None:
    """Audit a finished run: tables, a figure, MLflow; exit status 1 if a certificate is broken or a value is wrong."""
    settings, folder, options = prepared.settings, prepared.places, prepared.settings.audit
    found = findings(prepared)
    table, wrong = found.table, found.wrong
    if not len(table):
        name(wrong, folder)
        sys.exit(1)
    broken = table[table["flags"] != ""]
    summary: dict[str, Any] = {
        "audited": len(table),
        "inputs": len(prepared.indices),
        "broken": len(broken),
        "overlaps": len(found.pairs),
        "wrong_values": len(wrong),
        "contradictions": int(np.nansum(table["contradictions"].to_numpy(float))),
        "expected_false_alarms": expected_false_alarms(
            len(table), len(prepared.paths), options.false_alarm, settings.certify.alpha
        ),
    }
    summary |= {f"outside/{name}": share for name, share in outside_shares(table).items()}
    details = {"terms": asdict(prepared.terms), "overlapping_pairs": found.pairs, "notes": found.notes}
    details["differences"] = [asdict(it) for it in wrong]
    with replacing(folder.audit_table) as part:
        table.to_parquet(part, index=False)
    write_text(folder.audit, json.dumps(summary | details, indent=2, default=str) + "\n")
    save(audit_figure(table), folder.figures / "audit")
    if settings.run is None:
        track(prepared, summary)
    console = Console(soft_wrap=True)
    console.print(audit_table(summary, table))
    console.print(f"written to   {near(folder.audit_table)}", soft_wrap=True)
    for note in found.notes:
        console.print(f"note         {note}", markup=False, highlight=False)
    name(wrong, folder)
    overlapping = found.pairs if settings.certify.mode == "memory" else []
    if len(broken) or overlapping:
        inputs = broken["index"].tolist()
        console.print(f"[bold red]broken certificates[/]: inputs {inputs}; overlapping pairs {found.pairs}")
    if len(broken) or overlapping or wrong:
        sys.exit(1)


def name(wrong: list[Difference], folder: RunFolder) -> None:
    """Say which values are wrong: file, input and column of each."""
    console = Console(soft_wrap=True)
    for difference in wrong[:20]:
        console.print(f"[bold red]wrong[/]  {escape(str(difference))}", highlight=False)
    if len(wrong) > 20:
        console.print(f"and {len(wrong) - 20} more in {folder.path}")


def track(prepared: Prepared, summary: dict[str, Any]) -> None:
    """Add what the audit found to the run in MLflow."""
    folder = prepared.places
    tracker = Tracker(prepared.settings.root, folder.name, folder.mlflow_run, {"stage": "certify"})
    tracker.metrics({f"audit/{name}": value for name, value in summary.items()})
    tracker.link([folder.audit_table, folder.audit], "audit")
    tracker.link(folder.figures.glob("audit.*"), "figures")
    tracker.finish()
