"""The whole pipeline: `python -m pipelines.run method=rddrs sigma=0.5` trains, certifies and reports."""

from pipelines.entry import entry

if __name__ == "__main__":  # the configuration is read before torch is imported
    entry("run")()

from pipelines.certify import certify
from pipelines.prepared import Prepared
from pipelines.report import report
from pipelines.told import show_shard
from rddrs.records.dashboard import finished_in


def run(prepared: Prepared) -> None:
    """Train, certify and report; a shard of several leaves the report to `python -m pipelines.report`."""
    certify(prepared)
    if prepared.settings.shard.count == 1:
        complete(prepared)
    else:
        show_shard(prepared)


def complete(prepared: Prepared) -> None:
    """Report what is certified, beside its counterpart under isotropic noise, which is made where it is not there.

    One whose report was stopped has its records, but perhaps no page, and MLflow does not call it finished.
    """
    if prepared.is_compared and not prepared.left:
        other = prepared.counterpart
        if not (other.places.is_finished and finished_in(prepared.settings.root, other.places.mlflow_run)):
            certify(other)
            report(other, brief=True)
    report(prepared, anew=False)
