"""What the tests that start a run in a process of its own share."""

import signal


def heed_ctrl_c() -> None:
    """In a new process: end by SIGINT, which the background job of a shell ignores, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
