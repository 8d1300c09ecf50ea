"""Where everything lies: in the folder of a run, of a classifier, of a comparison, and below `output_root`."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Place:
    """A folder, which need not be there."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name


class Inside:
    """The path of what has this name in a place."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, place: Place, _: type[Place]) -> Path:
        return place.path / self._name


class RunFolder(Place):
    """The folder of a run, `runs/<key>` below the root, wherever it lies now."""

    configuration = Inside("config.yaml")
    manifest = Inside("manifest.json")
    regions = Inside("regions")
    scales = Inside("scales")
    memory = Inside("memory")
    records = Inside("records.parquet")
    records_csv = Inside("records.csv")
    log = Inside("log.tsv")
    summary = Inside("summary.json")
    severities = Inside("severities.csv")
    figures = Inside("figures")
    page = Inside("report.html")
    mlflow_run = Inside("mlflow_run_id")
    audit = Inside("audit.json")
    audit_table = Inside("audit.parquet")

    def region(self, index: int) -> Path:
        """The file of an input: its region, certificate and record."""
        return self.regions / f"{index}.safetensors"

    def scale(self, digest: str) -> Path:
        """A scale that several inputs share."""
        return self.scales / f"{digest}.safetensors"

    def outcome(self, index: int) -> Path:
        """What the memory left of the certificate of an input."""
        return self.memory / f"{index}.json"

    def relative(self, path: Path) -> str:
        """The name of what lies in the folder, as an audit and a manifest call it."""
        return path.relative_to(self.path).as_posix()

    @property
    def is_finished(self) -> bool:
        """Whether its records are there."""
        return self.records.is_file()

    @property
    def root(self) -> "OutputRoot":
        """The root below which the folder lies, if it lies below one."""
        return OutputRoot(self.path.resolve().parents[1])

    def is_below(self, root: "OutputRoot") -> bool:
        """Whether the run lies below this root, where comparisons and MLflow know it."""
        return self.path.resolve().parent == root.runs.resolve()


class ClassifierFolder(Place):
    """The folder of a classifier, `classifiers/<key>`: shared by all methods, subsets and certifications."""

    weights = Inside("weights.safetensors")
    scale = Inside("scale.safetensors")  # of a co-training
    batch = Inside("batch.json")
    mlflow_run = Inside("mlflow_run_id")
    lock = Inside(".lock")

    def shared_scale(self, maker: str) -> Path:
        """The one scale of a method for all inputs, by what made it."""
        return self.path / f"scale-{_key(maker)}.safetensors"

    def deployed(self, form: str) -> Path:
        """The file that a runtime answers with, by its precision and what it was calibrated by."""
        return self.path / f"{form}.onnx"

    def sigma_x(self, batch: int) -> Path:
        """Archives of the sigma_x of every input, which is the same for all methods."""
        return self.path / f"sigma_x-batch{batch}"


class ComparisonFolder(Place):
    """The folder of runs that stand side by side: `comparisons/<key>`, or a sweep, `sweeps/<key>`."""

    table = Inside("comparison.csv")
    literature = Inside("literature.csv")
    logs = Inside("logs.csv")
    figures = Inside("figures")
    page = Inside("report.html")
    jobs = Inside("jobs")
    mlflow_run = Inside("mlflow_run_id")

    def job(self, number: int) -> Path:
        """What a job of a sweep leaves."""
        return self.jobs / f"{number}.json"

    @property
    def root(self) -> "OutputRoot":
        return OutputRoot(self.path.parents[1])


class OutputRoot(Place):
    """`output_root`: all that runs produce."""

    runs = Inside("runs")
    classifiers = Inside("classifiers")
    comparisons = Inside("comparisons")
    sweeps = Inside("sweeps")
    database = Inside("mlflow.db")
    artifacts = Inside("mlartifacts")
    lock = Inside(".mlflow.lock")

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.runs / name)

    def comparison(self, names: Iterable[str]) -> ComparisonFolder:
        """The folder of a comparison of these runs."""
        return ComparisonFolder(self.comparisons / _key("\n".join(names)))

    def finished(self) -> list[str]:
        """The names of the runs that are finished."""
        return sorted(path.parent.name for path in self.runs.glob("*/records.parquet"))

    def side_by_side(self) -> list[ComparisonFolder]:
        """Every comparison and sweep that has a table."""
        return [ComparisonFolder(path.parent) for path in sorted(self.path.glob("*/*/comparison.csv"))]

    def named(self, name: str) -> str:
        """The run of this name, or the one whose name begins so; raises ValueError where there are several."""
        found = self.finished()
        begins = [each for each in found if each.startswith(name)]
        if name in found or not begins:
            return name
        if len(begins) > 1:
            raise ValueError(f"{name}: several begin so: {', '.join(begins)}")
        return begins[0]
