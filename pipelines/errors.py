"""How a command ends early."""

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
