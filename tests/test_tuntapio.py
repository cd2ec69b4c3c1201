"""
Tests for L{txtuntap.tuntap}: reading and writing, with a device in memory and with the system calls in memory.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import txtuntap.testing
from tests.flags import FLAGS
from tests.ports import DescriptorClock, PortTestCase
from tests.recorders import Oops, PacketRecorder, PairRecorder
from txtuntap import EthernetProtocol, Packet
from txtuntap.device import EBADFD
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket
from txtuntap.tuntap import InterfaceLost, TunnelFlags, TuntapPort

DATAGRAM = ipPacket("10.0.0.1", "10.0.0.2", 253, b"payload")
SIX = ipPacket("fd00::1", "fd00::2", 253, b"payload")
FRAME = ethernetFrame("02:00:00:00:00:01", "02:00:00:00:00:02", 0x88B5, b"payload")


class ReadTests(PortTestCase):
    def test_packetsAreDeliveredInOrder(self) -> None:
        self.assertEqual(self.deliver(DATAGRAM, SIX, DATAGRAM), [DATAGRAM, SIX, DATAGRAM])

    def test_aPacketHasItsPortAndItsTime(self) -> None:
        self.clock.advance(5)
        self.deliver(DATAGRAM)
        (packet,) = self.proto.packets
        self.assertEqual((packet.port, packet.time), (self.port, 5))

    def test_packetsAndOctetsAreCounted(self) -> None:
        self.deliver(DATAGRAM, SIX)
        self.assertEqual(self.port.counters, {"inPackets": 2, "inOctets": len(DATAGRAM) + len(SIX)})

    def test_packetThatFitsIsNotPartial(self) -> None:
        self.make(maxPacketSize=len(DATAGRAM))
        self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM])
        self.assertIs(self.proto.packets[0].partial, False)

    def test_packetThatWasCutIsPartial(self) -> None:
        self.make(maxPacketSize=len(DATAGRAM) - 1)
        self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM[:-1]])
        self.assertIs(self.proto.packets[0].partial, True)

    def test_packetsOfATurnAreBounded(self) -> None:
        self.port.maxPackets = 3
        for _ in range(5):
            self.device.deliver(DATAGRAM)
        self.port.doRead()
        self.assertEqual(len(self.proto.packets), 3)

    def test_octetsOfATurnAreBounded(self) -> None:
        self.port.maxThroughput = 2 * len(DATAGRAM) + 1
        for _ in range(5):
            self.device.deliver(DATAGRAM)
        self.port.doRead()
        self.assertEqual(len(self.proto.packets), 3)

    def test_theDefaultBounds(self) -> None:
        self.assertEqual(
            (self.port.maxThroughput, self.port.maxPackets, self.port.maxPacketSize), (1048576, 1024, 65557)
        )

    def test_theRestIsReadInLaterTurns(self) -> None:
        self.port.maxPackets = 2
        self.assertEqual(len(self.deliver(*[DATAGRAM] * 5)), 5)

    def test_protocolThatRaisesIsLoggedOnceASecond(self) -> None:
        self.proto.failing.add("receive")
        self.assertEqual(len(self.deliver(DATAGRAM, DATAGRAM)), 2)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.clock.advance(1)
        self.deliver(DATAGRAM)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertEqual(self.port.counters["protocolFailures"], 3)

    def test_theLogNamesTheMethodThatRaised(self) -> None:
        for proto, name in (PacketRecorder("receive"), "packetReceived"), (PairRecorder("receive"), "datagramReceived"):
            device = MemoryDevice(TUN)
            TuntapPort("", proto, reactor=self.clock, device=device).startListening()
            with capturedLogs() as events:
                device.deliver(DATAGRAM)
                self.clock.advance(0)
            self.flushLoggedErrors(Oops)
            (event,) = [event for event in events if "method" in event]
            self.assertEqual(name, event["method"])

    def test_aProtocolOfTwistedPairIsCalledAsThere(self) -> None:
        old = PairRecorder()
        device = MemoryDevice(TUN)
        port = TuntapPort("", old, maxPacketSize=len(SIX) - 1, reactor=self.clock, device=device)
        port.startListening()
        device.deliver(DATAGRAM)
        device.deliver(SIX)
        self.clock.advance(0)
        self.assertEqual(old.calls, [{"data": DATAGRAM, "partial": False}, {"data": SIX[:-1], "partial": True}])

    def test_aFrameIsDeliveredToAnEthernetLayer(self) -> None:
        ethernet, device = EthernetProtocol(), MemoryDevice(TAP)
        ethernet.addProto(0x88B5, self.proto)
        TuntapPort("", ethernet, reactor=self.clock, device=device).startListening()
        device.deliver(FRAME)
        self.clock.advance(0)
        self.assertEqual(self.proto.data, [b"payload"])

    def test_errorsOfTheDeviceAreRaised(self) -> None:
        def receive(maxPacketSize: int = 0) -> Packet | None:
            raise OSError(errno.EPERM, "not now")

        self.device.receive = receive  # type: ignore[method-assign]
        self.assertRaises(OSError, self.port.doRead)


class WriteTests(PortTestCase):
    def test_writePacketSendsThePiecesAsOnePacket(self) -> None:
        self.port.writePacket([DATAGRAM[:20], DATAGRAM[20:]])
        self.assertEqual(self.device.sent, [DATAGRAM])
        self.assertEqual(self.port.counters, {"outPackets": 1, "outOctets": len(DATAGRAM)})

    def test_linkThatIsDownIsCounted(self) -> None:
        self.device.up = False
        self.port.writePacket([DATAGRAM])
        self.assertIsNone(self.port.write(DATAGRAM))
        self.assertEqual(self.port.counters, {"outLinkDown": 2})

    def test_aPacketThatTheDeviceRefusesIsCounted(self) -> None:
        self.port.writePacket([b"\x00"])
        self.assertEqual(self.port.counters, {"outErrors": 1})

    def test_packetOnAPortThatIsNotListeningIsCounted(self) -> None:
        device = MemoryDevice(TUN)
        port = TuntapPort("", PacketRecorder(), reactor=self.clock, device=device)
        port.writePacket([DATAGRAM])
        self.assertEqual((device.sent, port.counters), ([], {"outDiscards": 1}))

    def test_writeReturnsTheNumberOfOctets(self) -> None:
        self.assertEqual(self.port.write(DATAGRAM), len(DATAGRAM))
        self.assertEqual(self.port.counters, {"outPackets": 1, "outOctets": len(DATAGRAM)})

    def test_writeRaisesIfTheDeviceRefuses(self) -> None:
        with self.assertRaises(OSError) as raised:
            self.port.write(b"\x00")
        self.assertEqual(raised.exception.errno, errno.EINVAL)

    def test_writeOnAPortThatIsNotListeningRaises(self) -> None:
        port = TuntapPort("", PacketRecorder(), reactor=self.clock, device=MemoryDevice(TUN))
        self.assertRaises(OSError, port.write, DATAGRAM)

    def test_writeSequenceSendsOnePacket(self) -> None:
        self.port.writeSequence([DATAGRAM[:5], b"", DATAGRAM[5:]])
        self.assertEqual(self.device.sent, [DATAGRAM])

    def test_thePortHasMTULinkAddressAndOffloadsOfTheDevice(self) -> None:
        self.assertEqual((self.port.mtu, self.port.linkAddress, self.port.offloads), (1400, None, 0))
        tap = TuntapPort("", EthernetProtocol(), reactor=self.clock, device=MemoryDevice(TAP))
        self.assertEqual(tap.linkAddress, b"\x02\0\0\0\0\x01")


class SystemMixin:
    """
    Tests of a port whose device calls a system in memory.

    @ivar library: the module that has C{MemoryIOSystem} and C{Tunnel}.
    """

    library: Any = None
    assertEqual: Any
    assertRaises: Any
    flushLoggedErrors: Any

    def setUp(self) -> None:
        self.clock = DescriptorClock()
        self.system = self.library.MemoryIOSystem()
        self.system.registerSpecialDevice(b"/dev/net/tun", self.library.Tunnel)
        self.proto: Any = PacketRecorder()
        self.port = self.makePort(self.proto)

    def makePort(self, proto: Any, **options: Any) -> TuntapPort:
        return TuntapPort("x0", proto, reactor=self.clock, system=self.system, **options)

    def opened(self) -> int:
        """
        Return the number of open files.
        """
        return len(self.system._openFiles)

    def refuse(self, call: str, number: int) -> None:
        """
        Let a call of the system fail from now on.

        @param number: the C{errno} of the failure.
        """

        def refused(*arguments: Any) -> None:
            raise OSError(number, "not now")

        setattr(self.system, call, refused)

    def loseInterface(self) -> None:
        def read(limit: int) -> bytes:
            raise OSError(EBADFD, "gone")

        self.system.getTunnel(self.port).read = read

    def test_theDeviceIsATunWithoutProtocolInformation(self) -> None:
        self.port.startListening()
        tunnel = self.system.getTunnel(self.port)
        self.assertEqual(tunnel.tunnelMode, (TunnelFlags.IFF_TUN | TunnelFlags.IFF_NO_PI).value)
        self.assertEqual(tunnel.requestedName, b"x0".ljust(16, b"\0"))
        self.assertEqual((tunnel.blocking, tunnel.closeOnExec), (False, True))

    def test_theNameIsTheOneTheKernelChose(self) -> None:
        self.port.startListening()
        name = self.system.getTunnel(self.port).name
        self.assertEqual(self.port.getHost().name, bytes(name[:16]).rstrip(b"\0"))

    def test_aPacketOfTheDescriptorIsRead(self) -> None:
        self.port.startListening()
        self.assertEqual(self.clock.readers, {self.port})
        self.system.getTunnel(self.port).addToReadBuffer(DATAGRAM)
        self.assertEqual(self.port.doRead(), None)
        self.assertEqual(self.proto.data, [DATAGRAM])

    def test_anEmptyQueueEndsTheTurn(self) -> None:
        self.port.startListening()
        tunnel = self.system.getTunnel(self.port)
        for style in (tunnel.EAGAIN_STYLE, tunnel.EWOULDBLOCK_STYLE, tunnel.EINTR_STYLE):
            tunnel.nonBlockingExceptionStyle = style
            self.assertEqual(self.port.doRead(), None)
        self.assertEqual(self.proto.packets, [])

    def test_emptyReadEndsTheTurn(self) -> None:
        self.port.startListening()
        self.system.getTunnel(self.port).readBuffer.append(b"")
        self.assertEqual(self.port.doRead(), None)
        self.assertEqual(self.proto.packets, [])

    def test_packetThatWasCutIsPartial(self) -> None:
        port = self.makePort(self.proto, maxPacketSize=len(DATAGRAM) - 1)
        port.startListening()
        for datagram in (DATAGRAM, DATAGRAM[:-1]):
            self.system.getTunnel(port).addToReadBuffer(datagram)
        port.doRead()
        self.assertEqual([len(packet) for packet in self.proto.packets], [len(DATAGRAM) - 1] * 2)
        self.assertEqual([packet.partial for packet in self.proto.packets], [True, False])

    def test_protocolInformationIsReadAndWritten(self) -> None:
        port = self.makePort(self.proto, protocolInformation=True)
        port.startListening()
        tunnel = self.system.getTunnel(port)
        self.assertEqual(tunnel.tunnelMode, TunnelFlags.IFF_TUN.value)
        tunnel.addToReadBuffer(DATAGRAM)
        port.doRead()
        self.assertEqual(self.proto.data, [DATAGRAM])
        for data, etherType in ((DATAGRAM, 0x0800), (SIX, 0x86DD)):
            self.assertEqual(port.write(data), len(data))
            self.assertEqual(tunnel.writeBuffer.pop(), struct.pack("!HH", 0, etherType) + data)

    def test_theKernelsMarkOfACutPacketIsPartial(self) -> None:
        port = self.makePort(self.proto, protocolInformation=True)
        port.startListening()
        # A replaced read, to which the system in memory adds no protocol information of its own.
        reads = [b"", struct.pack("=H", 1) + b"\x08\x00" + DATAGRAM]
        self.system.getTunnel(port).read = lambda limit: reads.pop()
        port.doRead()
        self.assertEqual([(bytes(p), p.partial, p.etherType) for p in self.proto.packets], [(DATAGRAM, True, 0x0800)])

    def test_interruptedWriteIsRepeated(self) -> None:
        self.port.startListening()
        tunnel = self.system.getTunnel(self.port)
        tunnel.pendingSignals.extend([1, 2])
        self.assertEqual(self.port.write(DATAGRAM), len(DATAGRAM))
        self.assertEqual(list(tunnel.writeBuffer), [DATAGRAM])

    def test_openThatFailsSaysWhatToDo(self) -> None:
        self.refuse("open", errno.ENOENT)
        with self.assertRaises(CannotListenError) as raised:
            self.port.startListening()
        self.assertEqual(raised.exception.socketError.errno, errno.ENOENT)
        self.assertEqual("modprobe tun" in str(raised.exception), True)

    def test_eachErrorSaysWhatToDo(self) -> None:
        for call, number, advice in (
            ("open", errno.EACCES, "read and write it"),
            ("open", errno.ENODEV, "modprobe tun"),
            ("ioctl", errno.EPERM, "CAP_NET_ADMIN"),
            ("ioctl", errno.EBUSY, "in use"),
            ("ioctl", errno.EINVAL, "x0"),
        ):
            self.setUp()
            self.refuse(call, number)
            with self.assertRaises(CannotListenError) as raised:
                self.port.startListening()
            self.assertEqual(raised.exception.socketError.errno, number)
            self.assertEqual((advice in str(raised.exception), call, number), (True, call, number))

    def test_attachingThatFailsLeaksNoDescriptor(self) -> None:
        self.system.permissions.discard("ioctl")
        for _ in range(3):
            self.assertRaises(CannotListenError, self.port.startListening)
        self.assertEqual((self.opened(), self.port.fileno()), (0, -1))

    def test_protocolThatFailsToConnectLeaksNoDescriptor(self) -> None:
        def makeConnection(transport: object) -> None:
            raise Oops

        self.proto.makeConnection = makeConnection
        self.assertRaises(Oops, self.port.startListening)
        self.assertEqual((self.opened(), self.clock.readers), (0, set()))

    def test_protocolThatFailsToStopLeaksNoDescriptor(self) -> None:
        def stopProtocol() -> None:
            raise Oops

        self.proto.stopProtocol = stopProtocol
        self.port.startListening()
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertEqual((self.opened(), self.clock.readers), (0, set()))

    def test_readingEndsAsSoonAsThePortIsStopped(self) -> None:
        self.port.startListening()
        self.port.stopListening()
        self.assertEqual(self.clock.readers, set())
        self.system.getTunnel(self.port).addToReadBuffer(DATAGRAM)
        self.port.doRead()
        self.assertEqual(self.proto.packets, [])

    def test_thePortCanBeStartedAgain(self) -> None:
        for _ in range(3):
            self.port.startListening()
            self.port.stopListening()
            self.clock.advance(0)
        self.assertEqual((self.opened(), self.port.fileno()), (0, -1))

    def test_aDeletedInterfaceEndsReading(self) -> None:
        self.port.startListening()
        self.loseInterface()
        self.assertEqual(type(self.port.doRead()), InterfaceLost)

    def test_connectionLostWithoutAReasonFindsInterfaceLost(self) -> None:
        self.port.startListening()
        reasons: list[Failure] = []
        self.port.whenLost().addErrback(reasons.append)
        self.loseInterface()
        self.port.connectionLost()
        self.assertEqual([reason.type for reason in reasons], [InterfaceLost])
        self.assertEqual((self.opened(), self.clock.readers), (0, set()))


@pytest.mark.linux
class OurSystemTests(SystemMixin, SynchronousTestCase):
    library = txtuntap.testing


@pytest.mark.linux
class TwistedPairsSystemTests(SystemMixin, SynchronousTestCase):
    def setUp(self) -> None:
        # Windows cannot import this module.
        import twisted.pair.testing

        self.library = twisted.pair.testing
        super().setUp()


class FlagsTests(SynchronousTestCase):
    def test_flagsAreThoseOfTheKernel(self) -> None:
        expected = {**FLAGS, "IFF_ONE_QUEUE": 0x2000}
        self.assertEqual({flag.name: flag.value for flag in TunnelFlags.iterconstants()}, expected)
