"""
The packets that the kernel cuts a superpacket into equal those that txtuntap cuts it into, octet by octet.
"""

from __future__ import annotations

import random
import socket
from dataclasses import replace

import pytest

from tests.real.lab.link import PACKET_VNET_HDR, SOL_PACKET, setUp
from tests.real.lab.namespace import Namespace, until
from tests.superpackets import ACK, CWR, FIN, PSH, superpacket
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.wire.offload import ECN, NONE, TCP4, TCP6, UDP, finish

_LINK = bytes.fromhex("0200000000bb0200000000aa")


@pytest.mark.parametrize("mode", [TUN, TAP], ids=["tun", "tap"])
@pytest.mark.parametrize("version", [4, 6])
def test_theKernelCutsASuperpacketInTheSameWay(namespace: Namespace, mode: int, version: int) -> None:
    etherType = {4: 0x0800, 6: 0x86DD}[version]
    link = _LINK + etherType.to_bytes(2, "big") if mode == TAP else b""
    tcp = TCP4 if version == 4 else TCP6
    made = []
    for payload, size in ((1, 1), (100, 100), (101, 100), (3000, 1400), (65000, 1400), (12800, 100), (4097, 512)):
        data = random.Random(payload).randbytes(payload)
        made.append((*superpacket(version, UDP, data, size, link=link), f"UDP {payload} by {size}"))
        for flags, options in ((ACK, b""), (ACK | PSH | FIN, b"\x01" * 12), (ACK | PSH | CWR, b"")):
            packet, offload, network = superpacket(version, tcp, data, size, flags, options, link)
            # Linux drops a single segment with options: it counts the options as payload, and then has too few octets.
            if size >= 8 and not (payload <= size and options):
                kind = tcp | (ECN if flags & CWR else 0)
                made.append((packet, replace(offload, type=kind), network, f"TCP {payload} by {size}, {flags:#x}"))
    for kind in UDP, tcp:
        packet, offload, network = superpacket(version, kind, b"only the sum", 12, link=link)
        made.append((packet, replace(offload, type=NONE, size=0), network, "a checksum"))
    with LinuxDevice("tt0", mode) as device, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        setUp("tt0")
        sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        for packet, offload, network, what in made:
            while device.receive():
                pass
            sender.sendto(offload.packed + packet, ("tt0", etherType))
            expected = finish(packet, offload, network)
            assert _received(device, len(expected), packet, network) == expected, what


def _received(device: LinuxDevice, count: int, packet: bytes, network: int) -> list[bytes]:
    """
    Return the packets that the kernel sends with the addresses of a packet. The kernel also sends others of its own.
    """
    place = slice(network + 12, network + 20) if packet[network] >> 4 == 4 else slice(network + 8, network + 40)
    found: list[bytes] = []

    def come() -> bool:
        while (each := device.receive()) is not None:
            if bytes(each)[place] == packet[place]:
                found.append(bytes(each))
        return len(found) >= count

    until(come, f"{count} packets")
    return found
