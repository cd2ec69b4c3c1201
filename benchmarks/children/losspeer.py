"""
The process of L{benchmarks.loss} with a kernel's end of a path. It runs in a network namespace of its own.

    python -m benchmarks.children.losspeer

The process serves bulk data and pages, and prints C{ready}. Each line of its standard input is a command: C{warm
ADDRESS}, C{bulk ADDRESS} or C{fetches ADDRESS}. The process then sends a datagram to that address, or connects to the
server there. It prints the octets that it has received per second, or 0 after C{warm}.
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
    Accept connections without an end, in a thread. Each connection is answered in a thread of its own.
    """
    listener = socket.create_server(("", port), backlog=100)
    # Accepted connections inherit the congestion control from the listener.
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
    Send data until the client closes the connection.
    """
    while True:
        connection.sendall(CHUNK)


def page(connection: socket.socket) -> None:
    """
    Receive a request, and send a page.
    """
    connection.recv(len(REQUEST))
    connection.sendall(bytes(PAGE))


def warm(address: str) -> float:
    """
    Exchange a datagram, so that both ends resolve their link addresses before the path loses packets.
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
    Receive bulk data for L{SECONDS} seconds.

    @return: the octets per second.
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
    Fetch L{FETCHES} pages, one after the other.

    @return: the octets per second.
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
    Serve clients, and run the commands of standard input.
    """
    with suppress(OSError):
        # A higher priority, so that this process does not limit the kernel's TCP.
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
