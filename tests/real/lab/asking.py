"""
Requests to a host from the kernel's sockets and tools, and the results that the kernel shows.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from tests.real.lab.machine import INTERFACE
from tests.real.lab.namespace import PATIENCE, ip, run, tool, until
from txtuntap.testing import ethernetFrame, ipPacket
from txtuntap.wire import arp, ethernet, icmp, ndp
from txtuntap.wire.address import addressText, groupLinkAddress, packAddress, packLinkAddress

_ASKER = "02:00:00:00:00:99"


def _nothing() -> None:
    return None


@contextmanager
def asking(address: str, question: bytes, port: int = 7) -> Iterator[Callable[[], bytes]]:
    """
    Make a function that sends a datagram to a UDP port at each call and returns an answer. It returns C{b""} while
    there is no answer, because an interface needs some time to come up. An answer to an earlier datagram counts, too.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)

        def answer() -> bytes:
            # The socket is not connected, so that the kernel chooses the source address each time.
            try:
                client.sendto(question, (address, port))
                data, source = client.recvfrom(65535)
            except OSError:
                return b""
            assert source[:2] == (address, port)
            return data

        yield answer


def askUntilAnswered(address: str, question: bytes, port: int = 7) -> bytes:
    """
    Send a datagram to a UDP port again and again until it answers. The kernel drops packets until it has started the
    queue of an interface, up to a second after the interface has its carrier.
    """
    with asking(address, question, port) as answer:
        return until(answer, f"an answer from {address} port {port}")


def untilEchoed(address: str, check: Callable[[], object] = _nothing) -> None:
    """
    Send datagrams to an echo on UDP port 7 until it answers, and wait for its answer to the last one. The echo answers
    in order, so no packet is in flight afterwards, and later counts and captures are exact.

    @param check: a function that is called before each datagram. It raises if no answer will come.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        numbers = count()
        question = b""

        def answer() -> bytes:
            nonlocal question
            check()
            question = b"there? %d" % next(numbers)
            with suppress(OSError):
                client.sendto(question, (address, 7))
                return client.recv(100)
            return b""

        came = until(answer, f"an answer from {address}")
        client.settimeout(PATIENCE)
        while came != question:
            came = client.recv(100)


def pingUntilAnswered(address: str, check: Callable[[], object] = _nothing) -> None:
    """
    Ping an address until it answers. Each ping waits for its answer before the next one is sent, and longer each time.
    So no packet is in flight afterwards.

    @param check: a function that is called before each ping. It raises if no answer will come.
    """
    began = time.monotonic()

    def answers() -> bool:
        check()
        seconds = min(max(0.5, (time.monotonic() - began) / 2), 5)
        command = [tool("ping"), "-n", "-c", "1", "-W", f"{seconds:.1f}", address]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    until(answers, f"{address} to answer a ping")


def askForNeighboursOnce(interface: str) -> None:
    """
    Make the kernel send only one request for each neighbour. By default, it repeats a request after a second without an
    answer, and some time after the answer. On a slow machine, there would be more requests to count.
    """
    for version in "ipv4", "ipv6":
        for name in "retrans_time_ms", "base_reachable_time_ms":
            Path(f"/proc/sys/net/{version}/neigh/{interface}/{name}").write_text(str(int(60_000 * PATIENCE)))


def whoHas(address: str) -> bytes:
    """
    Make a frame that asks for the link address of an IP address: an ARP request or a neighbour solicitation.
    """
    target, link = packAddress(address), packLinkAddress(_ASKER)
    if len(target) == 4:
        request = arp.ARP(arp.REQUEST, link, packAddress("10.9.0.77"), bytes(6), target)
        return ethernetFrame(_ASKER, b"\xff" * 6, ethernet.ARP, request.pack())
    source, group = packAddress("fd09::77"), packAddress("ff02::1")
    body = ndp.packBody(target, ndp.SOURCE_LINK, link)
    message = icmp.pack(ndp.SOLICITATION, 0, 0, body, source, group)
    packet = ipPacket(source, group, icmp.PROTOCOL[6], message, ndp.HOP_LIMIT)
    return ethernetFrame(_ASKER, groupLinkAddress(group), ethernet.IPV6, packet)


def tells(frame: bytes) -> str:
    """
    Find the IP address whose link address a frame reports to C{_ASKER}; empty for other frames.
    """
    if frame[:6] != packLinkAddress(_ASKER):
        return ""
    if frame[12:14] == b"\x08\x06":
        return addressText(frame[28:32])
    return addressText(frame[62:78]) if frame[54] == ndp.ADVERTISEMENT else ""


def ping(address: str, *options: str) -> int:
    """
    Run C{ping}, and return the number of answers. Each answer must repeat the octets of its request.
    """
    wait = [] if "-W" in options else ["-W", f"{PATIENCE:.0f}"]
    count = int(options[options.index("-c") + 1])
    alive = 1 if "-W" in options else 0
    said = run("ping", "-n", *wait, *options, address, status=alive)
    for fault in "wrong", "DUP", "truncated", "errors", "Unreachable":
        assert fault not in said, said
    (summary,) = (line for line in said.splitlines() if "packets transmitted" in line)
    sent, received = (int(part.split()[0]) for part in summary.split(",")[:2])
    assert sent == count
    return received


def addressFlags(address: str, interface: str = INTERFACE) -> set[str]:
    """
    The flags of an IPv6 address of the kernel, such as C{"tentative"}.
    """
    (link,) = json.loads(ip("-json", "-6", "address", "show", "dev", interface))
    (found,) = (each for each in link["addr_info"] if each["local"] == address)
    return {name for name, value in found.items() if value is True}


def station(address: str, interface: str = INTERFACE) -> str:
    """
    The link address that the kernel has for a neighbour.
    """
    (found,) = json.loads(ip("-json", "neighbour", "show", address, "dev", interface))
    return str(found["lladdr"])
