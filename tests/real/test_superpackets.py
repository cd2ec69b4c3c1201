"""
Superpackets between the kernel and a port: on each reactor, on devices with different flags, and as other programs see
the packets cut from them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from zope.interface import directlyProvides

from tests.real.lab.link import PACKET_VNET_HDR, SOL_PACKET, setUp, show, untilQueueStarted
from tests.real.lab.namespace import Namespace, ip, until
from tests.real.lab.reactors import Run, onEachReactor, onOneReactor
from tests.real.lab.tcpdump import tshark
from tests.real.test_port import onBothKinds
from tests.recorders import DatagramRecorder
from tests.superpackets import ACK, PSH, superpacket
from txtuntap import Host, Packet, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice, ioctl
from txtuntap.device.refusals import MAX_REFUSALS
from txtuntap.device.unix.system import RealSystem
from txtuntap.interfaces import IEthernetProtocol, IRawPacketProtocol
from txtuntap.testing import udpPacket
from txtuntap.wire.offload import CSUM, TCP4, TCP6, TSO4, TSO6, TSO_ECN, UDP, USO, Offload

#: Constants of udp(7).
_UDP_SEGMENT, _UDP_GRO = 103, 104

OWN = {4: "10.9.0.2", 6: "fd09::2"}
KERNEL = {4: "10.9.0.1", 6: "fd09::1"}

#: The data of datagrams of a thousand octets, and of a shorter last one.
DATA = bytes(number * 7 & 0xFF for number in range(30 * 1000 + 17))

ALL = CSUM | TSO4 | TSO6 | TSO_ECN | USO


class Wrapper:
    """
    A wrapper around a host's protocol that accepts no offload and records the packets that it receives.
    """

    def __init__(self, inner: Any, mode: int) -> None:
        directlyProvides(self, IEthernetProtocol if mode == TAP else IRawPacketProtocol)
        self._inner = inner
        self.seen: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def packetReceived(self, packet: Packet) -> None:
        """
        Record a packet, and pass it on.
        """
        self.seen.append(bytes(packet))
        self._inner.packetReceived(packet)


def olderIoctl(fileno: int, request: int, argument: Any) -> Any:
    """
    Call C{fcntl.ioctl} as a kernel before 6.2 would, which has no USO.
    """
    if request == ioctl.TUNSETOFFLOAD and argument & USO:
        raise OSError(errno.EINVAL, "Invalid argument")
    return fcntl.ioctl(fileno, request, argument)


def oldIoctl(fileno: int, request: int, argument: Any) -> Any:
    """
    Call C{fcntl.ioctl} as a kernel before 2.6.27 would, which has no offload.
    """
    if request == ioctl.TUNGETFEATURES:
        return struct.pack("I", ioctl.IFF_TUN | ioctl.IFF_TAP | ioctl.IFF_NO_PI)
    return fcntl.ioctl(fileno, request, argument)


def strangeIoctl(fileno: int, request: int, argument: Any) -> Any:
    """
    Call C{fcntl.ioctl} as a replacement for a kernel that can only attach to an interface.
    """
    if request in (ioctl.TUNGETFEATURES, ioctl.TUNSETOFFLOAD, ioctl.TUNSETVNETHDRSZ):
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
    return fcntl.ioctl(fileno, request, argument)


def strangerIoctl(fileno: int, request: int, argument: Any) -> Any:
    """
    Call C{fcntl.ioctl} as a replacement for a kernel that claims to support offload headers, too.
    """
    if request in (ioctl.TUNSETOFFLOAD, ioctl.TUNSETVNETHDRSZ):
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
    return fcntl.ioctl(fileno, request, argument)


def system(call: Any) -> RealSystem:
    """
    Make a real system with another C{ioctl}.
    """
    made: Any = RealSystem()
    made.ioctl = call
    return cast(RealSystem, made)


def refusing() -> RealSystem:
    """
    Make a real system that gives the kernel superpackets of an unknown type, so that the kernel refuses them.
    """

    def changed(header: bytes) -> bytes:
        return header[:1] + b"\x07" + header[2:] if header[1] else header

    made: Any = RealSystem()
    made.write = lambda fileno, data: os.write(fileno, changed(data))
    made.writev = lambda fileno, buffers: os.writev(fileno, [changed(buffers[0]), *buffers[1:]])
    return cast(RealSystem, made)


def echoing(
    run: Run, mode: int, wrapped: bool = False, device: LinuxDevice | None = None, **keywords: Any
) -> tuple[DatagramRecorder, TuntapPort, Any]:
    """
    Start a host with an echo server on port 7, and set up the kernel's end of its device.
    """
    echo = DatagramRecorder()
    echo.then = echo.write
    host = Host([f"{OWN[4]}/24", f"{OWN[6]}/64"], run.reactor)
    host.listenUDP(7, echo)
    top: Any = host.ethernet if mode == TAP else host.ip
    if wrapped:
        top = Wrapper(top, mode)
    port = TuntapPort("tt0", top, reactor=run.reactor, device=device, **keywords)
    port.startListening()
    setUp("tt0", f"{KERNEL[4]}/24", f"{KERNEL[6]}/64")
    return echo, port, top


@contextmanager
def asking(version: int, gro: bool) -> Iterator[socket.socket]:
    """
    Open a kernel socket that sends superpackets of datagrams of a thousand octets to the echo server.
    """
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        asker.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 1000)
        asker.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, gro)
        asker.setblocking(False)
        asker.connect((OWN[version], 7))
        yield asker


async def echoed(run: Run, version: int, gro: bool = False) -> list[int]:
    """
    Send all the data, and receive its echo.

    @return: the numbers of octets received in each system call.
    """
    with asking(version, gro) as asker:
        answers: list[bytes] = []

        def come() -> bool:
            while True:
                try:
                    answers.append(asker.recv(1 << 16))
                except BlockingIOError:
                    break
                except ConnectionRefusedError:
                    pass
            if not sum(map(len, answers)):
                # The host does not answer before it has claimed its address.
                with suppress(OSError):
                    asker.send(DATA)
            return sum(map(len, answers)) >= len(DATA)

        await run.until(come, "answers")
        assert b"".join(answers)[: len(DATA)] == DATA
        return [len(answer) for answer in answers]


@onEachReactor
@onBothKinds
async def test_aSuperpacketIsEchoedAsOne(run: Run, mode: int) -> None:
    echo, port, _ = echoing(run, mode)
    assert port.offloads == ALL
    for version in 4, 6:
        before = port.counters["inSuperpackets"], port.counters["outSuperpackets"]
        assert max(await echoed(run, version)) == 1000
        # A receiver with GRO gets several datagrams in one call if they arrive as a superpacket.
        assert max(await echoed(run, version, gro=True)) > 10_000
        assert port.counters["inSuperpackets"] >= before[0] + 2
        assert port.counters["outSuperpackets"] >= before[1] + 2
    assert set(map(len, echo.data)) == {1000, 17}
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_superpacketsCanBeTurnedOff(run: Run, mode: int) -> None:
    echo, port, _ = echoing(run, mode, offload=False)
    assert port.offloads == 0
    await echoed(run, 4)
    assert set(map(len, echo.data)) == {1000, 17}
    assert port.counters["inSuperpackets"] == port.counters["outSuperpackets"] == 0
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_aProtocolWithoutOffloadReceivesCutPackets(run: Run, mode: int) -> None:
    for offload in None, True:
        echo, port, wrapper = echoing(run, mode, wrapped=True, offload=offload)
        assert port.offloads == (ALL if offload else 0)
        await echoed(run, 4)
        assert set(map(len, echo.data)) == {1000, 17}
        start = 14 if mode == TAP else 0
        datagrams = [
            data[start:] for data in wrapper.seen if data[start + 9] == 17 and data[start + 22 :][:2] == b"\0\7"
        ]
        assert datagrams
        for data in datagrams:
            source = int.from_bytes(data[20:22], "big")
            made = udpPacket(data[12:16], data[16:20], source, 7, data[28:])
            # Compare everything but the identification and the header checksum.
            assert data[:4] + data[12:] == made[:4] + made[12:]
        await port.stopListening()


@onEachReactor
@onBothKinds
async def test_anOlderKernelHasFewerOffloads(run: Run, mode: int) -> None:
    device = LinuxDevice("tt0", mode, system=system(olderIoctl))
    _, port, _ = echoing(run, mode, device=device)
    assert port.offloads == CSUM | TSO4 | TSO6 | TSO_ECN
    for version in 4, 6:
        await echoed(run, version)
    assert port.counters["inSuperpackets"] == port.counters["outSuperpackets"] == 0
    await port.stopListening()


@onEachReactor
@onBothKinds
async def test_superpacketsThatTheKernelRefusesAreCut(run: Run, mode: int) -> None:
    device = LinuxDevice("tt0", mode, system=refusing())
    _, port, _ = echoing(run, mode, device=device)
    assert port.offloads == ALL
    for _ in range(MAX_REFUSALS):
        for version in 4, 6:
            await echoed(run, version)
    assert port.offloads == ALL & ~USO
    assert port.counters["inSuperpackets"] > MAX_REFUSALS
    assert port.counters["outRefusedOffloads"] == MAX_REFUSALS
    assert port.counters["outSuperpackets"] == port.counters["outErrors"] == 0
    await port.stopListening()


@onOneReactor
@onBothKinds
async def test_aReplacementForTheKernelHasNoOffloads(run: Run, mode: int) -> None:
    for call in strangeIoctl, strangerIoctl:
        device = LinuxDevice("tt0", mode, system=system(call))
        _, port, _ = echoing(run, mode, device=device)
        assert port.offloads == 0
        await echoed(run, 4)
        await port.stopListening()


@pytest.mark.parametrize("flags", ["", "vnet_hdr", "multi_queue", "multi_queue vnet_hdr", "pi vnet_hdr"])
@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_aDeviceOfAnyFlagsIsUsed(namespace: Namespace, flags: str, mode: str) -> None:
    ip("tuntap", "add", "tt0", "mode", mode, *flags.split())
    # A former owner of the device may have left its offload on.
    with LinuxDevice("tt0", TAP if mode == "tap" else TUN) as device:
        device.close()
        device.open(offload=None)
        assert device.offloads == ALL
    for offload in False, None, True:
        with LinuxDevice("tt0", TAP if mode == "tap" else TUN) as device:
            device.close()
            device.open(offload=offload)
            assert device.offloads == (0 if offload is False else ALL)
            setUp("tt0")
            # An interface that was set up before gets its carrier when a program attaches.
            untilQueueStarted("tt0")
            _sendSuperpacket("tt0", mode)
            packets: list[Packet] = []

            def come(device: LinuxDevice = device, packets: list[Packet] = packets) -> bool:
                while (packet := device.receive()) is not None:
                    if b"1234567890" in bytes(packet):
                        packets.append(packet)
                return sum(bytes(packet).count(b"1234567890") for packet in packets) == 30

            until(come, "all datagrams")
            assert len(packets) == (3 if offload is False else 1)


@pytest.mark.parametrize("mode", [TUN, TAP], ids=["tun", "tap"])
def test_superpacketsHaveProtocolInformation(namespace: Namespace, mode: int) -> None:
    with LinuxDevice("tt0", mode, protocolInformation=True) as device:
        device.close()
        device.open(offload=True)
        setUp("tt0")
        _sendSuperpacket("tt0", "tun" if mode == TUN else "tap")
        found: list[Packet] = []

        def come() -> bool:
            while (packet := device.receive()) is not None:
                if b"1234567890" in bytes(packet):
                    found.append(packet)
            return bool(found)

        until(come, "a superpacket")
        assert found[0].offload is not None and found[0].offload.isSuperpacket
        assert found[0].readEtherType == (0x0800 if mode == TUN else 0)
        found[0].network = found[0].start + (14 if mode == TAP else 0)
        assert len(found[0].finished()) == 3


@pytest.mark.parametrize("mode", [TUN, TAP], ids=["tun", "tap"])
def test_aKernelWithoutOffloadRefusesIt(namespace: Namespace, mode: int) -> None:
    device = LinuxDevice("tt0", mode, system=system(oldIoctl))
    with pytest.raises(OSError, match="no offload"):
        device.open(offload=True)
    assert device.fileno() == -1
    device.open(offload=None)
    assert device.offloads == 0
    device.close()


@pytest.mark.parametrize("version", [4, 6])
def test_forwardedSuperpacketsAreCompleted(namespace: Namespace, version: int) -> None:
    """
    Superpackets, and datagrams with open checksums, are forwarded to a device without offload.
    """
    other = {4: "10.8.0.9", 6: "fd08::9"}[version]
    with LinuxDevice("tt0", TUN) as first, LinuxDevice("tt1", TUN) as second:
        first.close()
        first.open(offload=True)
        setUp("tt0", f"{KERNEL[version]}/{24 if version == 4 else 64}")
        setUp("tt1", {4: "10.8.0.1/24", 6: "fd08::1/64"}[version])
        name = "ipv4/ip_forward" if version == 4 else "ipv6/conf/all/forwarding"
        Path("/proc/sys/net", name).write_text("1")
        packet, offload, _ = superpacket(version, UDP, DATA[:3500], 1000, ends=(OWN[version], other))
        first.send([packet[:40], packet[40:]], offload)
        single, _, _ = superpacket(version, UDP, b"on its own", 10, ends=(OWN[version], other))
        first.send([single], Offload(1, 0, 0, 0, offload.checksumStart, 6))
        expected = [DATA[:1000], DATA[1000:2000], DATA[2000:3000], DATA[3000:3500], b"on its own"]
        found: list[bytes] = []

        def come() -> bool:
            while (received := second.receive()) is not None:
                data = bytes(received)
                if data[-len(expected[0]) - 48 :] and data[offload.checksumStart :][:4] == struct.pack("!HH", 4000, 7):
                    found.append(data)
            return len(found) == len(expected)

        until(come, "packets at the other device")
        for data, payload in zip(found, expected, strict=True):
            made = udpPacket(OWN[version], other, 4000, 7, payload)
            assert data[offload.checksumStart :] == made[offload.checksumStart :]


@pytest.mark.parametrize("mode", [TUN, TAP], ids=["tun", "tap"])
def test_tsharkFindsNoFaultInCutPackets(namespace: Namespace, tmp_path: Path, mode: int) -> None:
    """
    The packets that a wrapper receives, cut from superpackets of UDP and TCP, are written to a capture.
    """
    seen: list[bytes] = []
    link = bytes.fromhex("0200000000bb0200000000aa")
    with LinuxDevice("tt0", mode) as device, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        device.close()
        device.open(offload=True)
        setUp("tt0")
        sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sent = 0
        for version in 4, 6:
            etherType = 0x0800 if version == 4 else 0x86DD
            before = link + etherType.to_bytes(2, "big") if mode == TAP else b""
            for kind, flags, options in (
                (UDP, 0, b""),
                (TCP4 if version == 4 else TCP6, ACK | PSH, b""),
                (TCP4 if version == 4 else TCP6, ACK, b"\x01" * 12),
            ):
                packet, offload, _ = superpacket(version, kind, DATA[:20_000], 1400, flags, options, before)
                sender.sendto(offload.packed + packet, ("tt0", etherType))
                sent += 1
        superpackets: list[Packet] = []

        def come() -> bool:
            while (packet := device.receive()) is not None:
                if packet.offload is not None and packet.offload.isSuperpacket:
                    superpackets.append(packet)
            return len(superpackets) == sent

        until(come, "superpackets")
    for each in superpackets:
        each.network = each.start + (14 if mode == TAP else 0)
        seen.extend(map(bytes, each.finished()))
    assert len(seen) == sent * 15
    capture = tmp_path / "capture.pcap"
    # As pcap(5) says, link type 101 is raw IP, 1 is Ethernet.
    header = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1 if mode == TAP else 101)
    records = [struct.pack("=IIII", 0, number, len(data), len(data)) + data for number, data in enumerate(seen)]
    capture.write_bytes(header + b"".join(records))
    assert len(tshark(capture, "udp.checksum.status == 1 || tcp.checksum.status == 1")) == len(seen)
    assert tshark(capture, "ip.checksum.status == 0 || _ws.malformed || _ws.expert.severity >= 8388608") == []


def _sendSuperpacket(name: str, mode: str) -> None:
    """
    Let the kernel send a superpacket of three datagrams to an interface.
    """
    link = bytes.fromhex("0200000000bb0200000000aa0800") if mode == "tap" else b""
    packet, offload, _ = superpacket(4, UDP, b"1234567890" * 30, 100, link=link)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sender.sendto(offload.packed + packet, (name, 0x0800))
        assert show(name)["operstate"] in ("UP", "UNKNOWN")
