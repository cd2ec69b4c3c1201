"""
The description of a packet in one line is that of tcpdump, for the usual packets.
"""

from __future__ import annotations

from pathlib import Path

from tests.real.lab.examples import run
from tests.real.lab.namespace import tool
from tests.wire.test_summary import FOUR, FRAMES, ONE, OTHER, SIX, segment
from txtuntap.middleware import CaptureStream
from txtuntap.testing import ethernetFrame, ipPacket, udpPacket
from txtuntap.wire import icmp, pcapng, tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.summary import describe

#: The payloads of IPv4 and IPv6 packets, by protocol number.
PAYLOADS: list[tuple[int, bytes]] = [
    *((6, segment(flags, payload)) for flags in range(256) for payload in (b"", b"hello") if not flags & tcp.URG),
    *((6, segment(tcp.ACK | tcp.FIN, bytes(length))) for length in (0, 1, 1400)),
    *((17, udpPacket(*FOUR, 1234, 4242, bytes(length))[20:]) for length in (0, 1, 1400)),
]
MESSAGES = [icmp.pack(kind, 0, 3 << 16 | 4, bytes(56)) for kind in (icmp.ECHO_REQUEST, icmp.ECHO_REPLY)]
MESSAGES6 = [
    *(icmp.pack(kind, 0, 3 << 16 | 4, bytes(56)) for kind in (icmp.ECHO_REQUEST6, icmp.ECHO_REPLY6)),
    icmp.pack(133, 0, 0, b""),
    icmp.pack(135, 0, 0, packAddress("fd00::9")),
    icmp.pack(136, 0, 0, packAddress("fd00::9")),
]


def frames() -> list[bytes]:
    """
    Make the frames that are described.
    """
    packets4 = [ipPacket(*FOUR, *payload) for payload in (*PAYLOADS, *((1, message) for message in MESSAGES))]
    packets6 = [ipPacket(*SIX, *payload) for payload in (*PAYLOADS, *((58, message) for message in MESSAGES6))]
    return [
        *list(FRAMES)[:2],
        *(ethernetFrame(ONE, OTHER, 0x0800, packet) for packet in packets4),
        *(ethernetFrame(ONE, OTHER, 0x86DD, packet) for packet in packets6),
    ]


def test_theLinesAreThoseOfTcpdump(tmp_path: Path) -> None:
    path = tmp_path / "frames.pcapng"
    with path.open("wb") as file:
        sink = CaptureStream(file)
        sink.begin(pcapng.ETHERNET, "tap0", 0)
        for frame in frames():
            sink.record(frame, 0, pcapng.INBOUND)
        sink.end(0)
    lines = run(tool("tcpdump"), "-n", "-S", "-t", "-r", str(path)).splitlines()
    printed = [line for line in lines if not line.startswith(("reading from", "Warning"))]
    assert [describe(frame, 0, True) for frame in frames()] == printed
