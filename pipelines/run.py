"""The whole pipeline: `python -m pipelines.run method=rddrs sigma=0.5` trains, certifies and reports."""

from typing import TYPE_CHECKING

from pipelines.certify import certify
from pipelines.entry import entry
from pipelines.report import report

if TYPE_CHECKING:
    from pipelines.prepare import Prepared


def run(prepared: "Prepared") -> None:
    """Train, certify and report; a shard of several leaves the report to `python -m pipelines.report`."""
    certify(prepared)
    if prepared.settings.shard.count == 1:
        report(prepared, complete=True)


if __name__ == "__main__":
    entry(run)()
