"""
The client process of L{benchmarks.children.streamer}, with sockets of the kernel.

    python -m benchmarks.children.streampeer CASE ADDRESS PORT

The process prints the elapsed seconds, without those of its start.
"""

from __future__ import annotations

import selectors
import socket
import sys
from time import perf_counter

#: The number of units in each case: megabytes, megabytes, pages, connections, round trips. The service receives in the
#: case C{receive}, and sends in the case C{send}.
CASES: dict[str, int] = {"receive": 96, "send": 96, "web": 2000, "connections": 800, "roundtrips": 4000}

MEGABYTE = 1_000_000

#: The number of connections that send requests at once.
TOGETHER = 8

REQUEST = b"GET / HTTP/1.1\r\nHost: host\r\n\r\n"
PAGE_END = b"</html>\n"
QUESTION = bytes(64)


def connected(address: str, port: int) -> socket.socket:
    """
    Open a connection that uses CUBIC.
    """
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.connect((address, port))
    return made


def receive(address: str, port: int, units: int) -> None:
    """
    Send data to the service, and wait until it has received everything.
    """
    block = bytes(256 * 1024)
    left = units * MEGABYTE
    with connected(address, port) as peer:
        while left > 0:
            peer.sendall(block[:left])
            left -= len(block)
        peer.shutdown(socket.SHUT_WR)
        peer.recv(1)


def send(address: str, port: int, units: int) -> None:
    """
    Receive data from the service.
    """
    buffer = bytearray(256 * 1024)
    left = units * MEGABYTE
    with connected(address, port) as peer:
        while left > 0:
            left -= peer.recv_into(buffer)


def ask(address: str, port: int, units: int, question: bytes, end: bytes) -> None:
    """
    Send requests over several connections, one at a time over each.

    @param units: the number of requests.
    @param question: the request.
    @param end: the last octets of an answer. If it is empty, an answer is as long as the request.
    """
    selector = selectors.DefaultSelector()
    asked = 0
    for _ in range(TOGETHER):
        peer = connected(address, port)
        peer.sendall(question)
        asked += 1
        selector.register(peer, selectors.EVENT_READ, bytearray())
    while selector.get_map():
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            peer, answer = key.fileobj, key.data
            answer += peer.recv(65536)
            if answer.endswith(end) if end else len(answer) >= len(question):
                answer.clear()
                if asked < units:
                    asked += 1
                    peer.sendall(question)
                else:
                    selector.unregister(peer)
                    peer.close()


def connections(address: str, port: int, units: int) -> None:
    """
    Open a connection, send one request over it, and close it, repeatedly.
    """
    for _ in range(units):
        with connected(address, port) as peer:
            peer.sendall(QUESTION)
            if len(peer.recv(1024)) != len(QUESTION):
                raise RuntimeError("the echo has another length than the request")


def main(case: str, address: str, port: str) -> None:
    """
    Run the case that the command line names.
    """
    ends = address, int(port), CASES[case]
    began = perf_counter()
    if case == "web":
        ask(*ends, REQUEST, PAGE_END)
    elif case == "roundtrips":
        ask(*ends, QUESTION, b"")
    else:
        {"receive": receive, "send": send, "connections": connections}[case](*ends)
    print(perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
