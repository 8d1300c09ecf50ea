"""Stage 4, on demand: try to break the certificates of a run. `python -m pipelines.audit` exits with 1 where it can."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.certify import progress_bar, worker_pool
from pipelines.entry import entry
from pipelines.errors import SettingsError
from pipelines.train import measured_batch, train

if TYPE_CHECKING:
    from pipelines.prepare import Prepared
    from rddrs.certification import Certificate
    from rddrs.records import Store


def audit(prepared: "Prepared") -> None:
    """Audit the certificates of a finished run: tables, a figure, MLflow, and exit status 1 if any is broken."""
    import numpy as np
    import pandas as pd
    from rich.console import Console

    from rddrs import audit as audit_certificate
    from rddrs.files import replacing, write_text
    from rddrs.records import Store
    from rddrs.records.tracking import Tracker
    from rddrs.report import audit_figure, audit_table, save
    from rddrs.trust import overlaps

    settings = prepared.settings
    options = settings.audit
    store = Store(settings.run_folder)
    if not (store.folder / "records.parquet").exists():
        raise SettingsError(
            f"{store.folder} holds no finished run: python -m pipelines.run with the same keys makes it"
        )
    train(prepared)
    count = min(options.inputs or len(prepared.indices), len(prepared.indices))
    indices = [prepared.indices[position * len(prepared.indices) // count] for position in range(count)]
    certificates = claimed(prepared, store, indices)
    batch = measured_batch(prepared)
    reference = prepared.data.reference(settings.data.reference, settings.seed).to(settings.device)

    def one(certificate: "Certificate") -> dict[str, Any]:
        found = audit_certificate(
            prepared.network,
            certificate,
            prepared.data.test_inputs[certificate.index].to(settings.device),
            index=certificate.index,
            reference=reference,
            samples=options.samples,
            false_alarm=options.false_alarm,
            outside=options.outside,
            batch=batch,
            seed=options.seed,
        )
        return pd.json_normalize(asdict(found)).iloc[0].to_dict() | {"flags": ", ".join(found.flags)}

    with worker_pool(settings) as pool, progress_bar() as progress:
        rows = list(progress.track(pool.map(one, certificates), total=count, description="audit"))
    table = pd.DataFrame(rows)
    pairs = overlaps(certificates)
    broken = table[table["flags"] != ""]
    summary = {
        "audited": count,
        "broken": len(broken),
        "overlaps": len(pairs),
        "contradictions": int(np.nansum(table["contradictions"].to_numpy(float))),
        "expected_false_alarms": 2 * options.false_alarm * count + settings.certify.alpha * count,
    }
    with replacing(store.folder / "audit.parquet") as part:
        table.to_parquet(part, index=False)
    write_text(store.folder / "audit.json", json.dumps(summary | {"overlapping_pairs": pairs}, indent=2) + "\n")
    save(audit_figure(table), store.folder / "figures" / "audit")
    tracker = Tracker(settings.root, store.folder.name, store.folder / "mlflow_run_id", {"stage": "certify"})
    tracker.metrics({f"audit/{name}": value for name, value in summary.items()})
    tracker.link([store.folder / "audit.parquet", store.folder / "audit.json"], "audit")
    tracker.link((store.folder / "figures").glob("audit.*"), "figures")
    tracker.finish()
    console = Console()
    console.print(audit_table(summary, table))
    console.print(f"written to   {store.folder / 'audit.parquet'}", soft_wrap=True)
    if len(broken) or (settings.certify.mode == "memory" and pairs):
        console.print(f"[bold red]broken certificates[/]: inputs {broken['index'].tolist()}; overlapping pairs {pairs}")
        sys.exit(1)


def claimed(prepared: "Prepared", store: "Store", indices: list[int]) -> list["Certificate"]:
    """The certificates as the run claims them: after the memory where it has one, abstentions included."""
    from dataclasses import replace

    from rddrs.certification import ABSTAIN
    from rddrs.records import Ledger

    if prepared.settings.certify.mode == "per_input":
        return [store.certificate(index) for index in indices]
    ledger = Ledger(store.folder / "memory", store.certificate)
    remembered = set(ledger.indices())
    return [
        ledger.read(index).certificate
        if index in remembered
        else replace(store.certificate(index), prediction=ABSTAIN, radius=0.0)
        for index in indices
    ]


if __name__ == "__main__":
    entry(audit)()
