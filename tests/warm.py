"""Commands without the seconds that their imports take: each is a fork of one process that has made them.

What runs is `rddrs` or `python -m MODULE`, in a process, a folder and an environment of its own, up to its exit status.
Ctrl-C reaches it, and it is killed where whoever asked for it is.
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from select import select

IMPORTED = ["mlflow.store.tracking.sqlalchemy_store", "pipelines.audit", "pipelines.run", "rddrs.training.fit"]


@contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """While it is entered, `folder` holds the commands `rddrs` and `warm MODULE`; the environment is the imports'."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        number = listener.fileno()
        server = subprocess.Popen([sys.executable, __file__, str(number)], env=environment, pass_fds=[number])
    for name, module in (("rddrs", "rddrs"), ("warm", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -IS {__file__} {folder}/socket {module} "$@"\n')
        (folder / name).chmod(0o755)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def ask(place: str, words: list[str]) -> int:
    """The exit status of a command, which reads and writes where this process does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(place)
        socket.send_fds(server, [json.dumps([words, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
        command = int(server.recv(16))

        def forward(number: int, _: object) -> None:
            with suppress(ProcessLookupError):
                os.kill(command, number)

        signal.signal(signal.SIGINT, forward)
        return int(server.recv(8))


def serve(listener: socket.socket) -> None:
    """Fork for every command; returns in the process that is to be the command."""
    for name in IMPORTED:
        import_module(name)
    import_module("tests.tables").copied()
    assert threading.active_count() == 1, "a fork has no other threads"
    gc.collect()
    gc.set_threshold(100_000, 50, 20)
    gc.freeze()  # or the collections of every fork copy all that is shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            break
        connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, *_ = socket.recv_fds(connection, 1 << 20, 3)
    if command := os.fork():
        connection.send(str(command).encode())
        ended = os.pidfd_open(command)
        if ended not in select([connection, ended], [], [])[0]:  # whoever asked is no more
            os.kill(command, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        with suppress(BrokenPipeError):
            connection.send(str(status % 256).encode())
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the background job of a shell ignores
    for stream, number in zip(streams, range(3), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    del sys.path[0]  # this folder
    if not sys.argv[1].isdecimal():
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[0] == "rddrs":
        import_module("pipelines.command").main()
    else:
        sys.path.insert(0, "")
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
