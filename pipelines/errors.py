"""How a command ends early."""

NEEDED = ("hydra", "omegaconf", "mlflow", "pytorch_lightning", "lightning_fabric")
"""Packages that the pipeline needs, and the library does not: those of the extra `pipeline`."""

KEPT = "what was finished is kept: run the same command again to go on"


class SettingsError(ValueError):
    """A configuration that cannot be run; the message names the key, the value and what would be right."""


class JobError(RuntimeError):
    """Why a job of a multirun ended early; the message was printed."""


class Ended(Exception):
    """What a command says at its end, and its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def missing(error: ModuleNotFoundError) -> str:
    """Which extra to install, where a package of the pipeline is missing; raises any other error again."""
    if str(error.name).partition(".")[0] not in NEEDED:
        raise error
    return f"error: {error.name} is not installed, which the pipeline needs: pip install 'rddrs[pipeline]'"
