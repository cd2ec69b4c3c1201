"""
Tests for the defects of C{twisted.pair} that this package does not have. Their numbers are those of the list in
C{docs/compat.md}. Defects that involve the kernel are tested here with a device in memory.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import DescriptorClock
from tests.recorders import DatagramRecorder, Oops
from txtuntap import EthernetProtocol, IPProtocol, RawUDPProtocol, TunnelFlags, TuntapPort
from txtuntap.device import EBADFD
from txtuntap.ip import IPHeader
from txtuntap.testing import (
    TAP,
    TUN,
    MemoryDevice,
    MemoryIOSystem,
    Tunnel,
    ethernetFrame,
    ipPacket,
    udpDatagram,
    udpPacket,
)
from txtuntap.tuntap import InterfaceLost

OWN, PEER = "02:00:00:00:00:01", "02:00:00:00:00:02"
FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
HELLO = udpPacket(*FOUR, 1234, 7, b"hello")


class RefusingSystem(MemoryIOSystem):
    """
    A system whose C{ioctl} fails with the error C{number}, unless that is 0.
    """

    number = 0

    def ioctl(self, fd: int, request: int, args: Any) -> bytes:
        if self.number:
            raise OSError(self.number, "Invalid argument")
        return super().ioctl(fd, request, args)


class DefectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = DescriptorClock()
        self.echo = DatagramRecorder()
        self.echo.then = self.echo.write
        self.ip, self.udp = IPProtocol(), RawUDPProtocol()
        self.ip.addProto(17, self.udp)
        self.udp.addProto(7, self.echo)

    def listen(self, proto: Any = None, mode: int = TUN, **options: Any) -> TuntapPort:
        self.device = MemoryDevice(mode)
        port = TuntapPort("", proto or self.ip, reactor=self.clock, device=self.device, **options)
        port.startListening()
        return port

    def listenOnSystem(self, proto: Any = None, **options: Any) -> TuntapPort:
        """
        Make a port on a system in memory, without starting it.
        """
        self.system = RefusingSystem()
        self.system.registerSpecialDevice(b"/dev/net/tun", Tunnel)
        return TuntapPort(b"x0", proto or self.ip, reactor=self.clock, system=self.system, **options)

    def onEthernet(self, vlan: int | None = None) -> EthernetProtocol:
        ethernet = EthernetProtocol()
        ethernet.addProto(0x0800, self.ip, vlan=vlan)
        ethernet.addProto(0x86DD, self.ip, vlan=vlan)
        return ethernet

    def deliver(self, *packets: bytes) -> list[bytes]:
        """
        Let the port read packets in one turn.

        @return: the datagrams that the application receives.
        """
        del self.echo.received[:]
        for packet in packets:
            self.device.deliver(packet)
        self.clock.advance(0)
        return self.echo.data

    def test_01_versionComesBeforeHeaderLength(self) -> None:
        header = IPHeader(HELLO)
        self.assertEqual((HELLO[0], header.version, header.ihl), (0x45, 4, 20))

    def test_02_optionsAreStripped(self) -> None:
        self.listen()
        self.assertEqual(self.deliver(udpPacket(*FOUR, 1234, 7, b"hello", options=b"\x94\x04\0\0")), [b"hello"])

    def test_03_tunDeliversToAnIPProtocol(self) -> None:
        self.listen()
        self.assertEqual(self.deliver(HELLO), [b"hello"])

    def test_04_documentedProgramRuns(self) -> None:
        self.listen(self.udp)
        self.assertEqual(self.deliver(HELLO), [b"hello"])

    def test_05_textIsANameAndALongOneIsRefused(self) -> None:
        self.assertEqual(TuntapPort("tun%d", self.ip, reactor=self.clock).interface, b"tun%d")
        self.assertRaises(ValueError, TuntapPort, b"x" * 16, self.ip, reactor=self.clock)

    def test_06_shortPacketsAreCountedAndNotLogged(self) -> None:
        ethernet = self.onEthernet()
        self.listen(ethernet, TAP)
        with capturedLogs() as events:
            self.deliver(
                bytes(13),
                ethernetFrame(PEER, OWN, 0x0800, bytes(19)),
                ethernetFrame(PEER, OWN, 0x0800, ipPacket(*FOUR, 17, bytes(7))),
            )
        self.assertEqual(list(events), [])
        counters = ethernet.counters, self.ip.counters, self.udp.counters
        self.assertEqual(counters, ({"inErrors": 1}, {"inTruncatedPkts": 1}, {"inErrors": 1}))

    def test_07_paddingIsNotPayload(self) -> None:
        self.listen(self.onEthernet(), TAP)
        shorter = ipPacket(*FOUR, 17, udpDatagram(*FOUR, 1234, 7, b"hello") + b"not of the datagram")
        received = self.deliver(
            ethernetFrame(PEER, OWN, 0x0800, HELLO + bytes(13)), ethernetFrame(PEER, OWN, 0x0800, shorter)
        )
        self.assertEqual(received, [b"hello", b"hello"])

    def test_08_fragmentsArePutTogetherFirst(self) -> None:
        self.listen()
        datagram = udpDatagram(*FOUR, 1234, 7, b"hello")
        first, last = ipPacket(*FOUR, 17, datagram[:8], fragment=0x2000), ipPacket(*FOUR, 17, datagram[8:], fragment=1)
        self.assertEqual(self.deliver(last), [])
        self.assertEqual(len(self.deliver(first)), 1)
        self.assertEqual(self.ip.counters, {"reasmReqds": 2, "reasmOKs": 1})

    def test_09_checksumsAreVerified(self) -> None:
        self.listen()
        self.assertEqual(self.deliver(HELLO[:8] + b"\x01" + HELLO[9:], HELLO[:-1] + b"!"), [])
        self.assertEqual((self.ip.counters, self.udp.counters), ({"inCsumErrors": 1}, {"inCsumErrors": 1}))

    def test_10_ipv6AndVLANsAreUnderstood(self) -> None:
        self.listen(self.onEthernet(vlan=5), TAP)
        packet = udpPacket(*SIX, 1234, 7, b"hello")
        self.assertEqual(self.deliver(ethernetFrame(PEER, OWN, 0x86DD, packet, vlan=5)), [b"hello"])
        answer = udpPacket("fd00::2", "fd00::1", 7, 1234, b"hello")
        self.assertEqual(self.device.sent, [ethernetFrame(OWN, PEER, 0x86DD, answer, vlan=5)])

    def test_11_applicationStartsAndAnswers(self) -> None:
        self.listen()
        self.assertEqual(self.echo.events, ["start"])
        self.deliver(HELLO)
        self.assertEqual(self.device.sent, [udpPacket("10.0.0.2", "10.0.0.1", 7, 1234, b"hello")])

    @pytest.mark.linux
    def test_12_noDescriptorLeaks(self) -> None:
        port = self.listenOnSystem()
        self.system.number = errno.EPERM
        self.assertRaises(CannotListenError, port.startListening)
        self.system.number = 0
        for failing in ("start", "stop"):
            self.echo.failing = {failing}
            if failing == "start":
                self.assertRaises(Oops, port.startListening)
            else:
                port.startListening()
                port.stopListening()
                self.clock.advance(0)
        self.flushLoggedErrors(Oops)
        self.assertEqual(self.system._openFiles, {})

    @pytest.mark.linux
    def test_13_reasonOfAnEndIsTold(self) -> None:
        def gone(limit: int) -> bytes:
            raise OSError(EBADFD, "File descriptor in bad state")

        port = self.listenOnSystem()
        port.startListening()
        lost = port.whenLost()
        self.system.getTunnel(port).read = gone  # type: ignore[method-assign]
        port.connectionLost()
        self.failureResultOf(lost, InterfaceLost)

    def test_14_writeOnALinkThatIsDownIsCounted(self) -> None:
        port = self.listen()
        self.deliver(HELLO)
        self.device.up = False
        assert self.echo.transport is not None
        self.echo.transport.write(b"hello", (FOUR[0], 1234))
        self.assertEqual(port.counters["outLinkDown"], 1)

    def test_15_flagsAreThoseOfTheKernel(self) -> None:
        self.assertEqual(TunnelFlags.lookupByValue(0x100), TunnelFlags.IFF_MULTI_QUEUE)
        self.assertFalse([flag.name for flag in TunnelFlags.iterconstants() if flag.name.startswith("TUN_")])

    @pytest.mark.linux
    def test_16_stoppedPortReadsNothingAndStartsAgain(self) -> None:
        port = self.listenOnSystem()
        for _ in range(2):
            port.startListening()
            tunnel = self.system.getTunnel(port)
            tunnel.readBuffer.extend([b"", HELLO])
            port.doRead()
            self.assertEqual(self.echo.received, [], "an empty read ends the turn")
            port.stopListening()
            port.doRead()
            self.assertEqual((self.echo.received, self.clock.readers), ([], set()))
            self.clock.advance(0)

    def test_17_protocolThatRaisesStarvesNobody(self) -> None:
        other = DatagramRecorder()
        self.echo.failing.add("receive")
        self.udp.addProto(7, other)
        self.listen()
        self.deliver(HELLO)
        self.assertEqual((self.echo.data, other.data), ([b"hello"], [b"hello"]))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_18_packetThatWasCutIsPartial(self) -> None:
        partial = []
        self.ip.packetReceived = lambda packet: partial.append(packet.partial)  # type: ignore[method-assign]
        self.listen(maxPacketSize=len(HELLO) - 1)
        self.deliver(HELLO, HELLO[:-1])
        self.assertEqual(partial, [True, False])

    @pytest.mark.linux
    def test_19_invalidArgumentIsExplained(self) -> None:
        port = self.listenOnSystem()
        self.system.number = errno.EINVAL
        with self.assertRaises(CannotListenError) as raised:
            port.startListening()
        self.assertEqual(raised.exception.socketError.errno, errno.EINVAL)
        self.assertIn("TUNSETIFF", str(raised.exception))
        self.assertNotIn("Invalid argument", str(raised.exception))
