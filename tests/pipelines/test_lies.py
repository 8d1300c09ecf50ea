"""Lies, one a test: each is planted in a copy of an honest run, with a fresh manifest, and is named by the audit."""

import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.compare import compare_runs
from pipelines.prepare import prepare
from pipelines.proof import findings
from rddrs.files import write_text
from rddrs.records import ANYWHERE, ComparisonFolder
from rddrs.records.inventory import FILES, MLFLOW, SIDE_BY_SIDE
from rddrs.records.record import STATED
from rddrs.records.tracking import Tracker
from rddrs.report import comparison_differences
from tests.pipelines.liars import INDEX, Liar

REGION = f"regions/{INDEX}.safetensors"


def certificate(**values: Any) -> Callable[[dict, dict], None]:
    """A lie about the certificate, in its region's record as well."""

    def change(_: dict, stated: dict) -> None:
        stated["certificate"] |= values
        stated["record"] |= {name: value for name, value in values.items() if name in stated["record"]}

    return change


def moved(tensors: dict, _: dict) -> None:
    tensors["x"] = tensors["x"] + 0.01


def enlarged(tensors: dict, _: dict) -> None:
    tensors["theta"] = 1.5 * tensors["theta"]


def cheaper_counterpart(liar: Liar) -> None:
    """RS is certified to a quarter of its severities, so that the run is four times as good."""
    folder = liar.counterpart
    table = pd.read_parquet(folder / "records.parquet")
    liar.write(table.assign(severity_brightness=table["severity_brightness"] / 4), "records.parquet", folder)
    liar.bless(folder)
    rows = liar.folder / "severities.csv"
    shown = pd.read_csv(rows)
    shown.loc[shown["perturbation"] == "brightness", "rs"] /= 4
    shown["ratio"] = shown["severity"] / shown["rs"]
    liar.write(shown, rows.name)


def poorer_counts(liar: Liar) -> None:
    """The counterpart's counts are lower than its samples say, and so is everything that follows from them."""

    def change(_: dict, stated: dict) -> None:
        counts = stated["certificate"]["counts"]
        top = counts.index(max(counts))
        counts[top] -= 20
        counts[1 - top] += 20

    liar.region(change, liar.counterpart)
    liar.bless(liar.counterpart)


def smaller_noise(liar: Liar) -> None:
    """The counterpart is not sigma I, but something worse."""
    liar.region(lambda tensors, _: tensors.update(sigma=tensors["sigma"] / 2), liar.counterpart)
    liar.bless(liar.counterpart)


def other_names(liar: Liar) -> None:
    """The rows of a comparison are given other runs' names."""
    liar.table("comparison.csv", lambda table: table.assign(run=table["run"] + "x"), liar.comparison)


def outlier(liar: Liar) -> None:
    path = liar.comparison / "comparison.csv"
    table = pd.read_csv(path)
    liar.write(pd.concat([table, table.iloc[:1].assign(run="ours", acr_ball=9.0)]), path.name, liar.comparison)


LIES: dict[str, tuple[Callable[[Liar], object], str, str]] = {
    # certificates
    "radius": (lambda it: it.region(certificate(radius=3.0)), REGION, "radius"),
    "class": (lambda it: it.region(certificate(prediction=7)), REGION, "prediction"),
    "bound of p": (lambda it: it.region(certificate(p_lower=0.999)), REGION, "p_lower"),
    "scale": (lambda it: it.region(enlarged), REGION, "proxy_radius"),
    "counts": (lambda it: it.region(certificate(counts=[500, 0, 0])), REGION, "p_lower"),
    "more counts than samples": (lambda it: it.region(certificate(counts=[499, 1000, 0])), REGION, "counts"),
    "seed": (lambda it: it.region(certificate(seed=5)), REGION, "seed"),
    "alpha": (lambda it: it.region(certificate(alpha=0.4)), REGION, "alpha"),
    "bound": (lambda it: it.region(certificate(bound="randomized_clopper_pearson")), REGION, "bound"),
    "n": (lambda it: it.region(certificate(samples=1000)), REGION, "samples"),
    "selection size": (lambda it: it.region(certificate(selection_samples=10)), REGION, "selection_samples"),
    "batch": (lambda it: it.region(certificate(batch=64)), REGION, "batch"),
    "input": (lambda it: it.region(moved), REGION, "x"),
    # records
    "label": (lambda it: it.record(label=7), REGION, "label"),
    "certified severity": (lambda it: it.record(severity_brightness=0.99), REGION, "severity_brightness"),
    "invented severity": (lambda it: it.record(severity_snow=9.5), REGION, "severity_snow"),
    "invented radius": (lambda it: it.record(linf_radius=0.3), "records.parquet", "linf_radius"),
    "invented statement": (lambda it: it.region(lambda _, s: s.update(note="linf 0.3")), REGION, "note"),
    "status": (lambda it: it.record(status="refused"), REGION, "status"),
    "sigma_x": (lambda it: it.record(sigma_x=0.123), REGION, "sigma_x"),
    "iterations": (lambda it: it.record(iterations=1), REGION, "iterations"),
    "fidelity": (lambda it: it.record(fidelity=1.0 + 1e-6), REGION, "fidelity"),
    "interval": (lambda it: it.record(fidelity_low=0.999), REGION, "fidelity_low"),
    "baseline": (lambda it: it.record(baseline="as_long"), REGION, "baseline"),
    "preferred class": (lambda it: it.record(preferred_class=5), REGION, "preferred_class"),
    "preferred share": (lambda it: it.record(preferred_share=0.01), REGION, "preferred_share"),
    "a column left out": (lambda it: it.region(lambda _, s: s["record"].pop("status")), REGION, "status"),
    "noise that is not proposed": (lambda it: it.region(enlarged), REGION, "scale"),
    # tables
    "a cell": (lambda it: it.cell("ball_radius", 9.0), "records.parquet", "ball_radius"),
    "a row of the table left out": (
        lambda it: it.table("records.csv", lambda t: t.iloc[1:]), "records.csv", "index",
    ),
    "a line of the log": (
        lambda it: it.text("log.tsv", lambda text: text.replace("\t0.", "\t9.").replace("\t1.", "\t9.")),
        "log.tsv", "file",
    ),
    "a mean": (lambda it: it.summary(acr_proxy=9.0), "summary.json", "acr_proxy"),
    "a row left out": (lambda it: it.table("severities.csv", lambda t: t.iloc[:-1]), "severities.csv", "perturbation"),
    "a column of severities": (
        lambda it: it.table("severities.csv", lambda t: t.assign(best=9.0)), "severities.csv", "best",
    ),
    "a name": (
        lambda it: it.table("severities.csv", lambda t: t.replace("contrast", "snow")),
        "severities.csv", "perturbation",
    ),
    "a column of the csv alone": (
        lambda it: it.table("records.csv", lambda t: t.assign(linf_radius=0.3)), "records.csv", "linf_radius",
    ),
    "a key of the summary": (
        lambda it: it.summary(certified_accuracy_linf=0.99), "summary.json", "certified_accuracy_linf",
    ),
    # MLflow
    "mean radius": (lambda it: it.metric("acr_ball", 9.0), "MLflow", "acr_ball"),
    "radius of an input": (lambda it: it.metric("input/radius", 9.0, INDEX), "MLflow", "input/radius"),
    "mean severity": (lambda it: it.metric("severity/brightness", 9.0), "MLflow", "severity/brightness"),
    "severity of RS": (lambda it: it.metric("severity_rs/brightness", 1e-3), "MLflow", "severity_rs/brightness"),
    "ratio": (lambda it: it.metric("severity_ratio/brightness", 1e3), "MLflow", "severity_ratio/brightness"),
    "share": (lambda it: it.metric("certified_at/brightness", 0.123), "MLflow", "certified_at/brightness"),
    "end of the band": (lambda it: it.metric("certified_at_low/brightness", 0.9), "MLflow", "certified_at_low/*"),
    "invented metric": (lambda it: it.invent_metric("accuracy_linf", 0.99), "MLflow", "accuracy_linf"),
    "invented step": (lambda it: it.invent_metric("acr_ball", 9.0, 7), "MLflow", "acr_ball"),
    "invented column": (lambda it: it.invent_metric("input/linf", 9.0), "MLflow", "input/linf"),
    "parameter": (
        lambda it: it.sql("UPDATE params SET value = '1e-9' WHERE key = 'certify.alpha' AND run_uuid = ID"),
        "MLflow params", "certify.alpha",
    ),
    "invented parameter": (
        lambda it: it.sql("INSERT INTO params (key, value, run_uuid) VALUES ('certify.linf', '0.3', ID)"),
        "MLflow params", "certify.linf",
    ),
    "tag": (
        lambda it: it.sql("UPDATE tags SET value = 'rddrs_paper' WHERE key = 'method' AND run_uuid = ID"),
        "MLflow tags", "method",
    ),
    "commit in a tag": (
        lambda it: it.sql("UPDATE tags SET value = 'f00' WHERE key = 'mlflow.source.git.commit' AND run_uuid = ID"),
        "MLflow tags", "mlflow.source.git.commit",
    ),
    "invented tag": (
        lambda it: it.sql("INSERT INTO tags (key, value, run_uuid) VALUES ('linf', '0.3', ID)"), "MLflow tags", "linf",
    ),
    "copy of a table": (
        lambda it: it.artifact("records/records.csv").write_text("index,radius\n0,9.9\n"),
        "MLflow artifacts/records/records.csv", "file",
    ),
    "copy of the page": (
        lambda it: it.artifact("records/report.html").write_text("<h1>certified accuracy 1.000</h1>"),
        "MLflow artifacts/records/report.html", "file",
    ),
    "invented artifact": (
        lambda it: it.artifact("records/best.csv").write_text("radius\n9\n"),
        "MLflow artifacts/records/best.csv", "file",
    ),
    # what made it
    "configuration of the manifest": (
        lambda it: it.manifest(lambda m: m["configuration"]["certify"].update(alpha=1e-9)),
        "manifest.json", "configuration.certify.alpha",
    ),
    "binding of the manifest": (
        lambda it: it.manifest(lambda m: m["binding"].update(classifier="0" * 64)),
        "manifest.json", "binding.classifier",
    ),
    "commit": (
        lambda it: it.manifest(lambda m: m.update(commit="0" * 40)), "MLflow tags", "mlflow.source.git.commit",
    ),
    "versions": (lambda it: it.manifest(lambda m: m["versions"].update(torch="1.0")), "MLflow tags", "version.torch"),
    "version of the library": (
        lambda it: it.manifest(lambda m: m["versions"].update(rddrs="9.9")), "manifest.json", "versions.rddrs",
    ),
    "name": (lambda it: it.manifest(lambda m: m.update(run="digits-rs")), "manifest.json", "run"),
    "invented statement of the manifest": (
        lambda it: it.manifest(lambda m: m.update(audited_by="everybody")), "manifest.json", "audited_by",
    ),
    "sigma of config.yaml": (
        lambda it: it.text("config.yaml", lambda t: t.replace("sigma: 0.5", "sigma: 1.0")), "config.yaml", "sigma",
    ),
    "method of config.yaml": (
        lambda it: it.text("config.yaml", lambda t: t.replace("name: ancer", "name: rs")), "config.yaml", "method.name",
    ),
    "invented key of config.yaml": (
        lambda it: it.text("config.yaml", lambda t: t + "linf: 0.3\n"), "config.yaml", "linf",
    ),
    "no configuration": (lambda it: write_text(it.folder / "config.yaml", "sigma: 0.5\nname"), "config.yaml", "file"),
    "a file of its own": (lambda it: (it.folder / "certified.csv").write_text("linf\n0.3\n"), "certified.csv", "file"),
    "a region of no input": (
        lambda it: shutil.copy(it.folder / REGION, it.folder / "regions" / "7.safetensors"), "regions/7.*", "file",
    ),
    # the counterpart
    "severities of the counterpart": (cheaper_counterpart, "severities.csv", "brightness rs"),
    "counts of the counterpart": (poorer_counts, "*-rs-*/regions/*", "counts"),
    "noise of the counterpart": (smaller_noise, "*-rs-*/regions/*", "scale"),
    # comparisons
    "labels": (
        lambda it: it.table("comparison.csv", lambda t: t.assign(label=[*t["label"]][::-1]), it.comparison),
        "comparisons/*/comparison.csv", "* label",
    ),
    "method of a comparison": (
        lambda it: it.table("comparison.csv", lambda t: t.assign(method="magic"), it.comparison),
        "comparisons/*/comparison.csv", "* method",
    ),
    "sigma of a comparison": (
        lambda it: it.table("comparison.csv", lambda t: t.assign(sigma=[0.1, 9.0]), it.comparison),
        "comparisons/*/comparison.csv", "* sigma",
    ),
    "runs of a comparison": (other_names, "comparisons/*/comparison.csv", "run"),
    "a run that is nowhere": (outlier, "comparisons/*/comparison.csv", "*"),
    "a place beside the literature": (
        lambda it: (it.comparison / "literature.csv").write_text("run,acr\nours,99\n"),
        "comparisons/*/literature.csv", "acr",
    ),
    "a file of a comparison": (
        lambda it: (it.comparison / "best.csv").write_text("acr\n99\n"), "comparisons/*/best.csv", "file",
    ),
}  # fmt: skip


def found(liar: Liar) -> set[tuple[str, str]]:
    return {(it.file, it.column) for it in findings(liar.prepared).wrong}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(liar: Liar, lie: str) -> None:
    plant, file, column = LIES[lie]
    plant(liar)
    liar.bless()
    places = found(liar)
    assert any(fnmatchcase(it[0], file) and fnmatchcase(it[1], column) for it in places), places


def test_what_hangs_on_fidelity_is_checked_with_a_tolerance_and_at_inputs_that_are_not_audited(liar: Liar) -> None:
    """Every number must be of some answers, and all of the same ones."""
    others = [100, 200]
    liar.record(fidelity_low=0.9)
    for index, name in zip(others, ("fidelity", "preferred_share"), strict=True):
        liar.region(lambda _, stated, name=name: stated["record"].update({name: 0.91234}), index=index)
    liar.bless()
    audit = liar.prepared.settings.audit.model_copy(update={"tolerance": 40})
    wrong = findings(prepare(liar.prepared.settings.model_copy(update={"audit": audit}))).wrong
    named = {(it.input, it.column) for it in wrong if it.file.startswith("regions/")}
    assert named == {(INDEX, "fidelity_low"), (100, "fidelity"), (200, "preferred_share")}


def test_lies_beside_what_the_others_are_about_are_named(liar: Liar) -> None:
    """Each is independent of the others: the figures of MLflow's tables, names, statements twice, strange files."""
    of_run = "WHERE run_uuid = ID"
    liar.sql(f"UPDATE latest_metrics SET value = 9 {of_run} AND key = 'acr_ball'")
    liar.sql(f"UPDATE latest_metrics SET value = 9 {of_run} AND key = 'input/radius'")
    liar.sql(f"UPDATE runs SET name = 'best', status = 'FAILED' {of_run}")
    liar.sql("INSERT INTO tags (key, value, run_uuid) VALUES ('dataset', 'imagenet', ID)")
    again = Tracker(liar.root, liar.folder.name, liar.root / "note", {}).run_id
    inputs = "(SELECT source_id FROM inputs WHERE destination_id = ID)"
    liar.sql(f"UPDATE datasets SET name = 'imagenet' WHERE dataset_uuid IN {inputs}")
    liar.text("summary.json", lambda text: text.replace("{", '{"acr_ball": 9.0,', 1))
    for name in ("audit.csv", "audit.best/records.csv"):
        (liar.folder / name).parent.mkdir(exist_ok=True)
        write_text(liar.folder / name, "linf\n0.3\n")
    for name, content in (("0", b"linf 0.3"), ("1", bytes(512) + b"linf 0.3"), ("2", b"100.safetensors")):
        (liar.folder / "regions" / f"{name}.tar").write_bytes(content)
    liar.bless()
    told = findings(liar.prepared)
    named = {(it.file, it.column) for it in told.wrong}
    tables = {("MLflow", "acr_ball"), ("MLflow", "input/radius"), ("summary.json", "file")}
    names = {("MLflow tags", name) for name in ("run name", "run status", "dataset", "tag dataset")}
    strange = {("audit.csv", "file"), ("audit.best/records.csv", "file")}
    strange |= {("regions/0.tar", "file"), ("regions/1.tar", "file")}
    assert tables | names | strange <= named and ("regions/2.tar", "file") not in named, "which was being written"
    assert f"MLflow shows other runs of this name, which are not audited: {again}" in told.notes


def test_a_statement_of_the_manifest_is_made_once(liar: Liar) -> None:
    liar.bless()
    liar.text("manifest.json", lambda text: text.replace("{", '{"run": "best",', 1))
    assert ("manifest.json", "file") in found(liar)


def test_every_cell_of_the_severities_is_checked(liar: Liar) -> None:
    """But for the severities that are asked for: each is another question, and its answers are checked."""
    honest = pd.read_csv(liar.folder / "severities.csv")
    numbers = honest.select_dtypes("number").columns
    for name in numbers.drop("at"):
        row = honest[name].first_valid_index()
        liar.table("severities.csv", lambda _, name=name, row=row: larger(honest, row, name))
        liar.bless()
        assert ("severities.csv", f"{honest.loc[row, 'perturbation']} {name}") in found(liar)


def larger(table: pd.DataFrame, row: Any, name: str) -> pd.DataFrame:
    table = table.copy()
    table.loc[row, name] += 0.01
    return table


def test_the_docs_list_what_is_audited_and_what_is_not() -> None:
    """Row by row what the audit goes by, and no other row."""
    section = (Path(__file__).parents[2] / "docs" / "proven.md").read_text().partition("## An audit")[2]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | {how} |" for names in (FILES, STATED, MLFLOW, SIDE_BY_SIDE) for name, how in names.items()
    ]
    assert all(f"`{key}`" in section for key in ANYWHERE)


def test_labels_beside_the_literature_are_checked(liar: Liar) -> None:
    """Of two runs that stand there: a copy of the counterpart, and that, if both were of MNIST."""
    first = liar.counterpart
    second = Path(shutil.copytree(first, first.with_name(f"{first.name}-again")))
    for folder, seed in ((first, 0), (second, 1)):
        text = (folder / "config.yaml").read_text()
        write_text(
            folder / "config.yaml", text.replace("name: toy2d", "name: mnist").replace("\nseed: 0", f"\nseed: {seed}")
        )
    place = compare_runs(liar.root, [first.name, second.name])
    records = pd.read_parquet(first / "records.parquet")
    assert len(pd.read_csv(place / "literature.csv")) == 2
    assert comparison_differences(ComparisonFolder(place), first.name, records) == []
    liar.table("literature.csv", lambda table: table.assign(run=[*table["run"]][::-1]), place)
    (wrong,) = comparison_differences(ComparisonFolder(place), first.name, records)
    assert (wrong.file, wrong.column) == (f"comparisons/{place.name}/literature.csv", "run")
    (place / "literature.csv").unlink()
    liar.table("comparison.csv", lambda table: table.assign(**{"p_A_0.5": 0.99999}), place)
    assert {it.column for it in comparison_differences(ComparisonFolder(place), first.name, records)} == {
        *(f"{name} p_A_0.5" for name in (first.name, second.name)),
    }
    liar.table("comparison.csv", lambda table: table.filter(regex="^(?!p_A_|certified_at_)"), place)  # as 0.8.0 had it
    assert comparison_differences(ComparisonFolder(place), first.name, records) == []
