"""
The kernel's end of a path of L{benchmarks.loss}, in the network namespace that this is started in.

    python -m benchmarks.children.losspeer

It serves octets in bulk, and pages. For each line of its standard input, it is the client of another that does, and
writes the octets that it got in a second: C{warm ADDRESS}, C{bulk ADDRESS} or C{fetches ADDRESS}.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from benchmarks.transfers import BULK, CHUNK, FETCHES, PAGE, PAGES, PATIENCE, REQUEST, SECONDS


def serve(port: int, answer: Callable[[socket.socket], None]) -> None:
    """
    Accept connections for ever, each answered by a thread of its own.
    """
    listener = socket.create_server(("", port), backlog=100)
    # Connections have it from the listener.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")

    def answered(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(connection)

    def accept() -> None:
        while True:
            Thread(target=answered, args=(listener.accept()[0],), daemon=True).start()

    Thread(target=accept, daemon=True).start()


def source(connection: socket.socket) -> None:
    """
    Send until the client has enough.
    """
    while True:
        connection.sendall(CHUNK)


def page(connection: socket.socket) -> None:
    """
    Send a page.
    """
    connection.recv(len(REQUEST))
    connection.sendall(bytes(PAGE))


def warm(address: str) -> float:
    """
    Have both ends know each other's link addresses, before packets are lost.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.connect((address, 9))
        asking.send(b"")
        with suppress(ConnectionRefusedError):
            asking.recv(1)
    return 0.0


def bulk(address: str) -> float:
    """
    Receive octets for a while.
    """
    deadline = time.monotonic() + SECONDS
    received = 0
    with suppress(TimeoutError), socket.create_connection((address, BULK), SECONDS) as connection:
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            received += len(connection.recv(65536))
    return received / SECONDS


def fetches(address: str) -> float:
    """
    Fetch pages.
    """
    began = time.monotonic()
    count = 0
    while count < FETCHES and time.monotonic() - began < PATIENCE:
        received = 0
        with suppress(OSError), socket.create_connection((address, PAGES), 30) as connection:
            connection.sendall(REQUEST)
            while received < PAGE and (data := connection.recv(65536)):
                received += len(data)
        count += received >= PAGE
    return PAGE * count / (time.monotonic() - began)


def main() -> None:
    """
    Serve, and do what is asked.
    """
    with suppress(OSError):
        # The reader and the writer are not what is measured.
        os.nice(-10)
    serve(BULK, source)
    serve(PAGES, page)
    print("ready", flush=True)
    asked: dict[str, Callable[[str], float]] = {"warm": warm, "bulk": bulk, "fetches": fetches}
    for line in sys.stdin:
        name, address = line.split()
        print(asked[name](address), flush=True)


if __name__ == "__main__":
    main()
