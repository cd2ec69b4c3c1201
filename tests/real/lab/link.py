"""
The other end of a device: what the kernel sees of the interface.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.real.lab.namespace import interfaces, ip, until
from txtuntap.device import TAP, TUN
from txtuntap.wire.offload import HEADER_LENGTH, Offload, finish, networkStart

KIND = {TUN: "tun", TAP: "tap"}

_ETH_P_ALL = 0x0003

#: packet(7), C{linux/if_packet.h}: what is sent and received has a C{virtio_net_hdr} before it.
SOL_PACKET = 263
PACKET_VNET_HDR = 15


def setUp(name: str, *addresses: str) -> None:
    """
    Set an interface up, with addresses of the kernel's, and wait until it has them.
    """
    for address in addresses:
        ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    ip("link", "set", name, "up")
    untilHas(name, *addresses)


def has(name: str, *addresses: str) -> bool:
    """
    Whether an interface is there and up, and takes what comes to these addresses of the kernel's. Addresses are added
    before it is set up. The kernel writes from an IPv6 address a moment before it takes what comes to it.
    """
    if name not in interfaces() | {"lo"} or "UP" not in show(name)["flags"]:
        return False
    wanted = {address.replace("/", " ").split()[0] for address in addresses}
    routes = ip("-4", "route", "show", "table", "local") + ip("-6", "route", "show", "table", "local")
    return wanted <= {line.split()[1] for line in routes.splitlines() if line.startswith("local ")}


def untilHas(name: str, *addresses: str) -> None:
    """
    Wait until L{has} holds.
    """
    until(lambda: has(name, *addresses), f"{name} to be up, with {addresses}")


def untilQueueStarted(name: str) -> None:
    """
    Wait until an interface that is up, and whose carrier has come since, sends packets. The kernel drops them until it
    has started the interface's queue, up to a second later, when it also says that the interface is operational.
    """
    until(lambda: show(name)["operstate"] == "UP", f"the queue of {name} to start")


def setDown(name: str) -> None:
    """
    Set an interface down.
    """
    ip("link", "set", name, "down")


def delete(name: str) -> None:
    """
    Delete an interface.
    """
    ip("link", "delete", name)
    assert name not in interfaces()


def show(name: str) -> dict[str, Any]:
    """
    What C{ip} tells of an interface, with its counts.
    """
    (found,) = json.loads(ip("-json", "-details", "-statistics", "link", "show", name))
    assert isinstance(found, dict)
    return found


def packetsRead(name: str) -> int:
    """
    How many packets have been read from the device of an interface.
    """
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        found, _, counts = line.partition(":")
        if found.strip() == name:
            return int(counts.split()[9])
    raise AssertionError(f"{name} is not there")


class PacketSocket:
    """
    Packets out of and into an interface, past the kernel's IP. What goes in, the device receives; what the device
    sends, comes out.
    """

    def __init__(self, name: str, mode: int) -> None:
        self._name = name
        self._mode = mode
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        # Like a program behind a network card that has nothing to do for it: what is left open is finished here.
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.bind((name, _ETH_P_ALL))
        self._socket.setblocking(False)

    def __enter__(self) -> PacketSocket:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Hear no more.
        """
        self._socket.close()

    def send(self, data: bytes) -> None:
        """
        @raise OSError: C{ENETDOWN} where the link is down; C{ENOBUFS} where the device's queue is full.
        """
        etherType = {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0x88B5) if self._mode == TUN else 0
        self._socket.sendto(bytes(HEADER_LENGTH) + data, (self._name, etherType))

    def received(self) -> list[bytes]:
        """
        What the device has sent since this was last called.
        """
        packets: list[bytes] = []
        while True:
            try:
                data, address = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                return packets
            if address[2] != socket.PACKET_OUTGOING:  # type: ignore[attr-defined,unused-ignore]
                offload, packet = Offload.unpack(data), data[HEADER_LENGTH:]
                packets += finish(packet, offload, networkStart(packet) if self._mode == TAP else 0)

    def receivedUntil(self, last: Callable[[bytes], bool]) -> list[bytes]:
        """
        Wait for a packet for which C{last} holds, and return all that has come by then.
        """
        packets: list[bytes] = []

        def come() -> bool:
            packets.extend(self.received())
            return any(map(last, packets))

        until(come, "the last packet")
        return packets
