"""The command line's frame: configuration in, one clear message and an exit status out."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.errors import KEPT, Ended, JobError, missing, read_to_the_end

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException
except ModuleNotFoundError as error:
    print(missing(error), file=sys.stderr)
    sys.exit(2)

from pipelines.importing import uncollected
from pipelines.words import explained, readable

CONFIGURATION = (Path(__file__).parent / "conf").resolve()


def entry(stage: str) -> Callable[[], None]:
    """The command of a stage, by its name: what the stage needs is imported once the command line is read.

    Bad input ends with exit status 2 and one message, Ctrl-C with 130, and so does SIGTERM.
    """

    begun = []

    @hydra.main(version_base="1.3", config_path=str(CONFIGURATION), config_name="config")
    def command(configuration: DictConfig) -> str | None:
        begun.append(True)
        with uncollected():
            from pipelines.work import work

        try:
            return work(stage, configuration)
        except Ended as end:
            _fail(str(end), end.status)

    def main() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # its refusals are told here, in one sentence
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of NumPy: more threads wait in loops
        atexit.register(gc.freeze)  # at the end nothing is looked at for garbage: all of it goes
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                signal.signal(number, _interrupted)
        words = sys.argv[1:]
        try:
            sys.argv[1:] = readable(words)
        except ValueError as error:
            _usage(str(error))
        try:
            with read_to_the_end():
                command()
        except KeyboardInterrupt:
            print(f"stopped; {KEPT}", file=sys.stderr)
            sys.exit(130)
        except Exception as error:  # whatever Hydra raises of a command line, ValueError and OSError among it
            if not begun and isinstance(error, HydraException | OmegaConfBaseException | ValueError | TypeError):
                _usage(explained(error, words, str(CONFIGURATION)))
            if not isinstance(error, OSError):
                raise
            _usage(f"output_root: {error}")

    return main


def _usage(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _interrupted(number: int, _: object) -> None:
    """Ctrl-C, or SIGTERM, lets threads end what they do; a second one, meanwhile, ends the process at once."""

    def at_once(*_: object) -> None:
        os.write(sys.stderr.fileno(), f"\nstopped at once; {KEPT}\n".encode())
        os._exit(130)

    signal.signal(number, at_once)
    raise KeyboardInterrupt


def _fail(message: str, status: int) -> None:
    """End the command; in a multirun only the job: the others go on, and the sweep's end names it."""
    print(message, file=sys.stderr)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        raise JobError(message)
    sys.exit(status)
