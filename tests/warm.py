"""Commands without the seconds that their imports take: each is a fork of one process that has made them.

What runs is `rddrs` or `python -m MODULE`, in a process, a folder and an environment of its own, up to its exit status.
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
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

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
        status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        connection.send(str(status % 256).encode())
        os._exit(0)
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
