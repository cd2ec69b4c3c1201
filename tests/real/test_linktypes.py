"""
Captures of other programs, with each link type that can carry IP packets. A replay delivers the same packets that
C{tshark} reads.
"""

from __future__ import annotations

import io
import socket
import struct
from pathlib import Path

import pytest
from twisted.python.failure import Failure

from tests.real.lab.link import setUp
from tests.real.lab.namespace import Namespace, ip, run
from tests.real.lab.tcpdump import captured, tshark
from tests.recorders import PacketRecorder
from tests.wire.test_capturefile import pcap
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.network.clock import SimulationClock
from txtuntap.network.replay import Replay
from txtuntap.testing import udpPacket
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CaptureFileError
from txtuntap.wire.linktypes import LOOP, NULL, SLL, SLL2


def played(path: Path, directions: int = pcapng.INBOUND) -> list[bytes]:
    """
    Return the packets of a file that a replay delivers to a protocol of IP packets.
    """
    clock, recorder = SimulationClock(), PacketRecorder()
    done = Replay(path, recorder, clock, directions).start()
    clock.advance(60)
    assert done.called
    done.addErrback(lambda reason: pytest.fail(str(reason)))
    return [bytes(packet) for packet in recorder.packets]


@pytest.mark.parametrize("linkType", ["LINUX_SLL", "LINUX_SLL2"])
@pytest.mark.parametrize("version", [4, 6])
def test_aCaptureOfTcpdumpOnAnyInterfaceIsReplayed(
    namespace: Namespace, tmp_path: Path, linkType: str, version: int
) -> None:
    ip("link", "set", "lo", "up")
    path = tmp_path / "any.pcap"
    family, here, there = (
        (socket.AF_INET, "127.0.0.1", "10.9.0.9") if version == 4 else (socket.AF_INET6, "::1", "fd09::9")
    )
    with LinuxDevice("tt0", TUN), socket.socket(family, socket.SOCK_DGRAM) as client:
        setUp("tt0", "10.9.0.1/24", "fd09::1/64")
        # With a greater snapshot length, the kernel's buffer has no room for this number of packets.
        with captured(path, "any", "udp", 6, ("-y", linkType, "-s", "200")):
            for number in range(3):
                client.sendto(b"in%d" % number, (here, 9))
                client.sendto(b"out%d" % number, (there, 9))
    assert len(tshark(path, f"{'ip' if version == 4 else 'ipv6'} && udp.dstport == 9")) == 6
    for directions, name in (pcapng.INBOUND, b"in"), (pcapng.OUTBOUND, b"out"):
        packets = played(path, directions)
        assert [packet[0] >> 4 for packet in packets] == [version] * 3
        assert [packet[-len(name) - 1 :] for packet in packets] == [name + b"%d" % number for number in range(3)]


@pytest.mark.parametrize("linkType", [NULL, LOOP, SLL, SLL2, 12, 14, pcapng.RAW, 228, 229])
def test_theReplayHasThePacketsThatTsharkReads(tmp_path: Path, linkType: int) -> None:
    packets = [udpPacket(f"10.0.0.{number}", "10.0.0.9", 4000, 7, b"x") for number in range(1, 4)]
    packets += [udpPacket(f"fd00::{number}", "fd00::9", 4000, 7, b"x") for number in range(1, 4)]
    headers = {
        NULL: (struct.pack("<I", 2), struct.pack("<I", 30)),
        LOOP: (struct.pack(">I", 2), struct.pack(">I", 24)),
        SLL: tuple(struct.pack("!HHH8sH", 0, 1, 6, bytes(8), each) for each in (0x800, 0x86DD)),
        SLL2: tuple(struct.pack("!HHIHBB8s", each, 0, 1, 1, 0, 6, bytes(8)) for each in (0x800, 0x86DD)),
    }.get(linkType, (b"", b""))
    if linkType in (228, 229):
        packets = [packet for packet in packets if packet[0] >> 4 == (4 if linkType == 228 else 6)]
    path = tmp_path / "made.pcap"
    framed = [headers[packet[0] >> 4 == 6] + packet for packet in packets]
    path.write_bytes(pcap("<", 0xA1B2C3D4, *((0, 0, each, len(each)) for each in framed), linkType=linkType))
    assert len(tshark(path, "udp.dstport == 7 && udp.checksum.status == 1")) == len(packets)
    assert played(path) == packets


def test_aFileOfEditcapIsReplayed(tmp_path: Path) -> None:
    packet = udpPacket("10.0.0.1", "10.0.0.9", 4000, 7, b"x")
    raw = tmp_path / "raw.pcap"
    raw.write_bytes(pcap("<", 0xA1B2C3D4, (7, 0, packet, len(packet)), linkType=101))
    for kind in "pcap", "nsecpcap", "pcapng":
        run("editcap", "-F", kind, str(raw), str(tmp_path / kind))
        assert played(tmp_path / kind) == [packet]
    run("editcap", "-T", "ieee-802-11-radiotap", str(raw), str(tmp_path / "wlan"))
    clock = SimulationClock()
    for file, words in (tmp_path / "wlan", r"IEEE802_11_RADIOTAP \(link type 127\)"), (tmp_path / "odd", "Linux 2.2"):
        if not file.exists():
            run("editcap", "-F", "modpcap", str(raw), str(file))
        done = Replay(io.BytesIO(file.read_bytes()), PacketRecorder(), clock).start()
        failures: list[Failure] = []
        done.addErrback(failures.append)
        clock.advance(1)
        with pytest.raises(CaptureFileError, match=words):
            failures[0].raiseException()
