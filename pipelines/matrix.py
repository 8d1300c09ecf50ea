"""The stages of dvc.yaml: `python -m pipelines.matrix train SIGMA`, `certify SIGMA METHOD`, `compare`.

The runs are those that `python -m pipelines.run` makes with the values of params.yaml, in `outputs`. A key ends in a
hash that DVC cannot know, so that small copies go to places that it can: below `outputs/dvc`.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from pipelines.compare import compare_runs
from pipelines.config import explain, load
from pipelines.entry import CONFIGURATION
from pipelines.errors import SettingsError
from pipelines.prepare import prepare
from pipelines.run import run
from pipelines.settings import Group, Settings
from pipelines.train import train as train_classifier
from rddrs.files import write_text
from rddrs.records import ComparisonFolder

COPIES = Path("outputs/dvc")


class Matrix(Group):
    """The contents of params.yaml."""

    methods: list[str] = Field(min_length=1)
    sigmas: list[PositiveFloat] = Field(min_length=1)
    data: str
    subset: PositiveInt | None
    samples: PositiveInt
    seed: NonNegativeInt
    overrides: list[str]

    def settings(self, sigma: float | str, method: str | None = None) -> Settings:
        """The settings of one run; raises SettingsError."""
        values = {"data": self.data, "certify.samples": self.samples, "seed": self.seed, "sigma": sigma}
        values |= {"data.subset": "null" if self.subset is None else self.subset}
        values |= {} if method is None else {"method": method}
        try:
            with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
                return load(
                    compose("config", [*(f"{name}={value}" for name, value in values.items()), *self.overrides])
                )
        except HydraException as error:
            raise SettingsError(f"params.yaml: {error}") from error


def read_matrix(path: Path = Path("params.yaml")) -> Matrix:
    """The matrix that a file describes; raises SettingsError."""
    try:
        return Matrix.model_validate(OmegaConf.to_container(OmegaConf.load(path)))
    except ValidationError as error:
        raise SettingsError(explain(error, str(path))) from None


def train(matrix: Matrix, sigma: str) -> None:
    """Train the classifier of a noise level; its copy names it and its weights."""
    prepared = prepare(matrix.settings(sigma))
    train_classifier(prepared)
    weights = prepared.classifier_places.weights.read_bytes()
    manifest = {"classifier": prepared.classifier_folder.name, "sha256": hashlib.sha256(weights).hexdigest()}
    place = COPIES / "classifiers" / f"sigma{sigma}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_text(place, json.dumps(manifest, indent=2) + "\n")


def certify(matrix: Matrix, sigma: str, method: str) -> None:
    """Run a method at a noise level; its copies are the records, the summary and the names that lead to the rest."""
    prepared = prepare(matrix.settings(sigma, method))
    run(prepared)
    folder = COPIES / "runs" / f"{method}-sigma{sigma}"
    copy([prepared.places.records, prepared.places.summary], folder)
    manifest = {"run": prepared.run_folder.name, "classifier": prepared.classifier_folder.name}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def compare(matrix: Matrix) -> None:
    """Set all runs side by side; those of which DVC had only the copies are run again."""
    folders = []
    for settings in (matrix.settings(sigma, method) for sigma in matrix.sigmas for method in matrix.methods):
        prepared = prepare(settings)
        folders.append(prepared.run_folder)
        if not prepared.places.is_finished:
            run(prepared)
    places = ComparisonFolder(compare_runs(folders[0].parents[1], [folder.name for folder in folders]))
    copy([places.table], COPIES / "comparison")
    copy(places.figures.glob("*.png"), COPIES / "comparison" / "figures")


def copy(files: Iterable[Path], folder: Path) -> None:
    """Copy files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copy(path, folder)


def main() -> None:
    """One stage. Bad input ends with exit status 2 and one message, Ctrl-C with 130."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.matrix", description="The stages of dvc.yaml.")
    commands = parser.add_subparsers(required=True)
    for stage, names in ((train, ["sigma"]), (certify, ["sigma", "method"]), (compare, [])):
        command = commands.add_parser(stage.__name__, help=stage.__doc__)
        command.set_defaults(stage=stage)
        for name in names:
            command.add_argument(name)
    arguments = vars(parser.parse_args())
    try:
        arguments.pop("stage")(read_matrix(), **arguments)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept: dvc repro goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
