"""Stage 4, on demand: try to break the certificates of a run, and check that what it shows follows from them.

`python -m pipelines.audit` exits with 1 where it can. `run=FOLDER` audits a run that was made elsewhere, with nothing
but its folder, the weights and the data.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.certify import unseen, worker_pool
from pipelines.entry import entry
from pipelines.errors import SettingsError
from pipelines.progress import progress_bar
from pipelines.train import is_trained, measured_batch, standard_of, train

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from pipelines.prepare import Prepared
    from rddrs.certification import Certificate
    from rddrs.records import Difference, Store
    from rddrs.trust import Terms


def audit(prepared: "Prepared") -> None:
    """Audit a finished run: tables, a figure, MLflow; exit status 1 if a certificate is broken or a value is wrong."""
    import numpy as np
    from rich.console import Console

    from rddrs.files import replacing, write_text
    from rddrs.records import Store, manifest_differences
    from rddrs.report import audit_figure, audit_table, outside_shares, save
    from rddrs.trust import overlaps

    settings, folder = prepared.settings, prepared.run_folder
    options = settings.audit
    if not folder.is_dir():
        raise SettingsError(f"{folder} holds no finished run: python -m pipelines.run with the same keys makes it")
    if not is_trained(prepared):
        raise SettingsError(
            f"the weights are not in {prepared.classifier_folder}: classifier.checkpoint=FILE says where they are"
        )
    train(prepared)
    store, terms = Store(folder), terms_of(prepared)
    wrong = manifest_differences(folder)
    records, found = examined(prepared, store, terms)
    wrong += found + (shown(prepared, records) if len(records) else [])
    unreadable = {it.input for it in wrong if it.column == "file"}
    count = min(options.inputs or len(prepared.indices), len(prepared.indices))
    chosen = [prepared.indices[position * len(prepared.indices) // count] for position in range(count)]
    chosen = [index for index in chosen if len(records) and index in set(records["index"]) - unreadable]
    if not chosen:
        name(wrong, folder)
        sys.exit(1)
    claimed = claims(prepared, store)
    table, found = attacked(prepared, store, terms, chosen, claimed)
    wrong += found
    pairs = overlaps(map(claimed, sorted(chosen)), claimed)
    broken = table[table["flags"] != ""]
    summary: dict[str, Any] = {
        "audited": len(table),
        "broken": len(broken),
        "overlaps": len(pairs),
        "wrong_values": len(wrong),
        "contradictions": int(np.nansum(table["contradictions"].to_numpy(float))),
        "expected_false_alarms": 2 * options.false_alarm * len(table) + settings.certify.alpha * len(table),
    }
    summary |= {f"outside/{name}": share for name, share in outside_shares(table).items()}
    details = {"terms": asdict(terms), "overlapping_pairs": pairs, "differences": [asdict(it) for it in wrong]}
    with replacing(folder / "audit.parquet") as part:
        table.to_parquet(part, index=False)
    write_text(folder / "audit.json", json.dumps(summary | details, indent=2, default=str) + "\n")
    save(audit_figure(table), folder / "figures" / "audit")
    if settings.run is None:
        track(prepared, summary)
    console = Console(soft_wrap=True)
    console.print(audit_table(summary, table))
    console.print(f"written to   {folder / 'audit.parquet'}")
    name(wrong, folder)
    overlapping = settings.certify.mode == "memory" and pairs
    if len(broken) or overlapping:
        console.print(f"[bold red]broken certificates[/]: inputs {broken['index'].tolist()}; overlapping pairs {pairs}")
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


def terms_of(prepared: "Prepared") -> "Terms":
    """What the configuration asks of every certificate."""
    from rddrs.trust import Terms

    names = ("samples", "selection_samples", "alpha", "bound", "target_radius", "norm")
    asked = {name: getattr(prepared.settings.certify, name) for name in names}
    return Terms(**asked, grid=prepared.grid, seed=prepared.settings.seed)


def examined(prepared: "Prepared", store: "Store", terms: "Terms") -> "tuple[pd.DataFrame, list[Difference]]":
    """The records that follow from the regions, one at a time, and where the files of the run differ from them."""
    import pandas as pd

    from rddrs.records import examine, memory_again

    settings, data = prepared.settings, prepared.data
    binding = prepared.binding
    measuring, told = data.reference(settings.data.reference, settings.seed), prepared.threat.reported
    known: dict[str, Any] = {"mode": "global" if prepared.method.one_scale else "per_input"}
    known |= {} if settings.run is not None else {"baseline": standard_of(prepared)[0]}
    known |= {"batch": settings.certify.batch} if settings.certify.batch else {}
    rows: dict[int, dict[str, Any]] = {}
    wrong = []
    for index in prepared.indices:
        x, label = data.test_inputs[index], int(data.test_labels[index])
        found = examine(
            store, index, x, label, measuring, terms=terms, binding=binding, known=known, perturbations=told
        )
        wrong += found.differences
        if found.record is not None:
            rows[index] = found.record
            known.setdefault("batch", found.record["batch"])  # whatever it is, it is that of all
    if settings.certify.mode == "memory":
        rows, found = memory_again(store, terms, rows, measuring, told)
        wrong += found
    return pd.DataFrame([rows[index] for index in prepared.indices if index in rows]), wrong


def shown(prepared: "Prepared", records: "pd.DataFrame") -> "list[Difference]":
    """Where what people read, tables, summary, comparisons and MLflow, does not follow from the records."""
    from rddrs.records.tracking import logged
    from rddrs.report import PER_INPUT, comparison_differences, metric_differences, published_differences

    settings, folder = prepared.settings, prepared.run_folder
    alpha = settings.certify.alpha
    wrong = published_differences(folder, records, alpha)
    for path in settings.root.glob("*/*/comparison.csv"):
        wrong += comparison_differences(path, folder.name, records)
    if (settings.root / "mlflow.db").exists() and (folder / "mlflow_run_id").exists():
        shown = logged(settings.root, (folder / "mlflow_run_id").read_text(), PER_INPUT)
        wrong += metric_differences(*shown, records, alpha)
    return wrong


def claims(prepared: "Prepared", store: "Store") -> "Callable[[int], Certificate]":
    """The certificate of an input as the run claims it: after the memory where it has one, abstentions included."""
    from rddrs.records import Ledger

    if prepared.settings.certify.mode == "per_input":
        return store.certificate
    return Ledger(store.folder / "memory", store.certificate).claimed


def attacked(
    prepared: "Prepared",
    store: "Store",
    terms: "Terms",
    chosen: list[int],
    claimed: "Callable[[int], Certificate]",
) -> "tuple[pd.DataFrame, list[Difference]]":
    """The audit of the chosen certificates, and where their fidelity is not the one that is stated."""
    import pandas as pd

    from rddrs import audit as audit_certificate
    from rddrs import fidelity
    from rddrs.records import worth_differences

    settings, options = prepared.settings, prepared.settings.audit
    batch = measured_batch(prepared)
    reference = prepared.data.reference(settings.data.reference, settings.seed).to(settings.device)
    baseline, held_out = unseen(prepared)
    keyed: dict[str, Any] = {"sigma": settings.sigma, "seed": settings.seed, "norm": settings.certify.norm}

    def one(index: int) -> "tuple[dict[str, Any], list[Difference]]":
        certificate = claimed(index)
        found = audit_certificate(
            prepared.network,
            certificate,
            prepared.data.test_inputs[index].to(settings.device),
            index=index,
            terms=terms,
            reference=reference,
            perturbations=prepared.threat.perturbations,
            samples=options.samples,
            false_alarm=options.false_alarm,
            outside=options.outside,
            tolerance=options.tolerance,
            batch=batch,
            seed=options.seed,
        )
        stated = store.record(index)
        if settings.run is not None and stated.get("baseline") != baseline:  # a network that is not here
            wrong = []
        else:
            worth = fidelity(prepared.network, certificate.scale, held_out, **keyed, index=index)
            wrong = worth_differences(index, stated, worth, options.tolerance / len(held_out.labels) + 1e-9)
        return pd.json_normalize(asdict(found)).iloc[0].to_dict() | {"flags": ", ".join(found.flags)}, wrong

    with worker_pool(settings) as pool, progress_bar() as progress:
        done = list(progress.track(pool.map(one, chosen), total=len(chosen), description="audit"))
    return pd.DataFrame([row for row, _ in done]), [it for _, wrong in done for it in wrong]


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
