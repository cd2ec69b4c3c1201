"""
The kernel's side of a device: the interface, its settings, and its packets.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.real.lab.namespace import interfaces, ip, run, until
from txtuntap.device import TAP, TUN
from txtuntap.wire.offload import HEADER_LENGTH, Offload, finish, networkStart

KIND = {TUN: "tun", TAP: "tap"}

_ETH_P_ALL = 0x0003

#: The socket option with which each packet is preceded by a C{virtio_net_hdr} (C{packet(7)}, C{linux/if_packet.h}).
SOL_PACKET = 263
PACKET_VNET_HDR = 15

#: The number of packets that a flood sends before it waits, and the number of unread ones for which it waits. The queue
#: of a tun has room for 500 packets, those of other senders included.
BURST = 200
MOST_UNREAD = 100


def setUp(name: str, *addresses: str) -> None:
    """
    Set an interface up, add addresses of the kernel, and wait until they can be used.
    """
    for address in addresses:
        ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    ip("link", "set", name, "up")
    untilHas(name, *addresses)


def has(name: str, *addresses: str) -> bool:
    """
    Whether an interface exists, is up, and receives packets for these addresses of the kernel. The kernel can send from
    an IPv6 address shortly before it receives packets for it.
    """
    if name not in interfaces() | {"lo"} or "UP" not in show(name)["flags"]:
        return False
    wanted = {address.replace("/", " ").split()[0] for address in addresses}
    routes = ip("-4", "route", "show", "table", "local") + ip("-6", "route", "show", "table", "local")
    return wanted <= {line.split()[1] for line in routes.splitlines() if line.startswith("local ")}


def untilHas(name: str, *addresses: str) -> None:
    """
    Wait until an interface exists, is up, and has these addresses: see L{has}.
    """
    until(lambda: has(name, *addresses), f"{name} to be up, with {addresses}")


def untilQueueStarted(name: str) -> None:
    """
    Wait until an interface sends packets, after it was set up and has its carrier. The kernel drops packets until it
    has started the interface's queue, up to a second later. It then reports that the interface is operational.
    """
    until(lambda: show(name)["operstate"] == "UP", f"the queue of {name} to start")


def setDown(name: str) -> None:
    """
    Set an interface down with C{ip}.
    """
    ip("link", "set", name, "down")


def delete(name: str) -> None:
    """
    Delete an interface with C{ip}, and check that it is gone.
    """
    ip("link", "delete", name)
    assert name not in interfaces()


def show(name: str) -> dict[str, Any]:
    """
    Read the settings and the statistics of an interface with C{ip}.
    """
    (found,) = json.loads(ip("-json", "-details", "-statistics", "link", "show", name))
    assert isinstance(found, dict)
    return found


def packetsRead(name: str) -> int:
    """
    The number of packets that a program has read from the device of an interface.
    """
    return _counts(name)[9]


def packetsUnread(name: str) -> int:
    """
    The number of packets, of all senders, that wait in the queue of a device.
    """
    (found,) = [each for each in json.loads(run("tc", "-s", "-j", "qdisc", "show", "dev", name)) if each.get("root")]
    counts = _counts(name)
    # The queueing discipline counts what it has handed to the device. The device reads it, drops it, or queues it.
    return int(found["packets"]) - counts[9] - counts[11]


def waitUntilRead(name: str) -> None:
    """
    Wait until the queue of a device has room for the next L{BURST} of a flood.
    """
    until(lambda: packetsUnread(name) <= MOST_UNREAD, f"the packets in the queue of {name} to be read")


def _counts(name: str) -> list[int]:
    """
    The columns of an interface in C{/proc/net/dev}: 9 is the packets that were sent to it, and 11 those dropped.
    """
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        found, _, counts = line.partition(":")
        if found.strip() == name:
            return list(map(int, counts.split()))
    raise AssertionError(f"there is no interface {name}")


class PacketSocket:
    """
    A packet socket, which sends packets to a device and receives packets from it. The kernel's own IP stack is not
    involved.
    """

    def __init__(self, name: str, mode: int) -> None:
        self._name = name
        self._mode = mode
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        # Packets arrive with their offload header, so that superpackets can be split and checksums computed here.
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.bind((name, _ETH_P_ALL))
        self._socket.setblocking(False)

    def __enter__(self) -> PacketSocket:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Close the socket and receive no more packets.
        """
        self._socket.close()

    def send(self, data: bytes) -> None:
        """
        Send a packet or frame to the device.

        @raise OSError: the link is down (C{ENETDOWN}), or the device's queue is full (C{ENOBUFS}).
        """
        etherType = {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0x88B5) if self._mode == TUN else 0
        self._socket.sendto(bytes(HEADER_LENGTH) + data, (self._name, etherType))

    def received(self) -> list[bytes]:
        """
        Return the packets that the device has sent since the last call.
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
        Wait for a packet for which C{last} returns true, and return all packets that have arrived by then.
        """
        packets: list[bytes] = []

        def come() -> bool:
            packets.extend(self.received())
            return any(map(last, packets))

        until(come, "the last packet")
        return packets
