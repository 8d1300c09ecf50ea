"""How a command ends early."""


class SettingsError(ValueError):
    """A configuration that cannot be run; the message names the key, the value and what would be right."""


class JobError(RuntimeError):
    """Why a job of a multirun ended early; the message was printed."""
