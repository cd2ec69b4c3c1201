"""
Tests for L{txtuntap.udp.groups}: the multicast methods of the transport of a C{DatagramProtocol}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.error import CannotListenError, InvalidAddressError, MulticastJoinError
from twisted.internet.interfaces import IMulticastTransport, IReactorMulticast, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.ports import RecordingPort
from tests.recorders import DatagramRecorder
from tests.stack.link import LinkTestCase, frame
from txtuntap import IPProtocol, Packet, RawUDPProtocol
from txtuntap.ip import addresses
from txtuntap.testing import TAP, TUN, udpPacket
from txtuntap.wire.address import packAddress

GROUP, GROUP6 = "239.1.2.3", "ff05::1:3"
PORT = 5000
OURS = {4: "10.0.0.2", 6: "fd00::2"}
THEIRS = {4: "10.0.0.1", 6: "fd00::1"}
ADDRESSES = ("10.0.0.2/24", "10.0.0.3/24", "fd00::2/64", "fd00::3/64")


def packet(dest: str, port: int = PORT, payload: bytes = b"hello") -> bytes:
    """
    A datagram that a neighbour sends to a group.
    """
    return udpPacket(THEIRS[6 if ":" in dest else 4], dest, 1234, port, payload)


class HostTestCase(LinkTestCase):
    def setUp(self) -> None:
        self.make(*ADDRESSES, mode=TUN)
        self.transport, self.protocol = self.listen()

    def listen(self, port: int = PORT, interface: str = "", multiple: bool = False) -> tuple[Any, DatagramRecorder]:
        protocol = DatagramRecorder()
        return self.host.listenMulticast(port, protocol, interface, listenMultiple=multiple), protocol

    def joined(self, group: str, interface: str = "", transport: Any = None) -> None:
        self.successResultOf((transport or self.transport).joinGroup(group, interface))
        # After this time, the group was reported to the routers. The reports must not count as datagrams sent.
        self.wait(3)
        del self.device.sent[:]

    def refused(self, group: str, interface: str = "", transport: Any = None, leave: bool = False) -> str:
        """
        Try to join or leave a group, which must fail.

        @return: the text of the error.
        """
        transport = transport or self.transport
        result = transport.leaveGroup(group, interface) if leave else transport.joinGroup(group, interface)
        error = self.failureResultOf(result, MulticastJoinError).value
        self.assertEqual(error.args[:2], (group, interface))
        return str(error)

    def isMember(self, group: str) -> bool:
        return self.host.ip.isMember(packAddress(group))

    def heard(self, *packets: bytes) -> list[bytes]:
        """
        Let the host receive packets.

        @return: the payloads that were delivered to the protocol.
        """
        del self.protocol.received[:]
        self.receive(*packets)
        return self.protocol.data


class InterfaceTests(HostTestCase):
    def test_transportProvidesItsInterfaces(self) -> None:
        for transport in (self.transport, self.host.listenUDP(7, DatagramRecorder())):
            self.assertTrue(verifyObject(IMulticastTransport, transport))
            self.assertTrue(verifyObject(IUDPTransport, transport))

    def test_hostProvidesItsInterface(self) -> None:
        self.assertTrue(verifyObject(IReactorMulticast, self.host))


class MembershipTests(HostTestCase):
    def test_joinedGroupIsHeard(self) -> None:
        for group in (GROUP, GROUP6):
            self.assertEqual(self.heard(packet(group)), [], group)
            self.joined(group)
            self.assertEqual(self.heard(packet(group)), [b"hello"], group)

    def test_leftGroupIsNotHeard(self) -> None:
        for group in (GROUP, GROUP6):
            self.joined(group)
            self.heard(packet(group))
            self.successResultOf(self.transport.leaveGroup(group))
            self.assertEqual(self.heard(packet(group)), [], group)

    def test_joinedGroupIsHeardOnATap(self) -> None:
        self.make(*ADDRESSES, mode=TAP)
        self.transport, self.protocol = self.listen()
        for group, station in ((GROUP, b"\x01\0\x5e\1\2\3"), (GROUP6, b"\x33\x33\0\1\0\3")):
            self.assertEqual(self.heard(frame(packet(group), station)), [])
            self.joined(group)
            self.assertEqual(self.heard(frame(packet(group), station)), [b"hello"])

    def test_answersLeaveFromAnAddressOfOurs(self) -> None:
        self.protocol.then = self.protocol.write
        for group, version in ((GROUP, 4), (GROUP6, 6)):
            self.joined(group)
            self.assertEqual(
                self.receive(packet(group)), [udpPacket(OURS[version], THEIRS[version], PORT, 1234, b"hello")]
            )

    def test_transportsOnOtherPortsHearTheGroupToo(self) -> None:
        _, other = self.listen(PORT + 1)
        self.joined(GROUP)
        self.receive(packet(GROUP, PORT + 1))
        self.assertEqual(len(other.received), 1)

    def test_transportOnOneAddressHearsGroupsOfItsVersion(self) -> None:
        transport, other = self.listen(PORT + 1, OURS[4])
        self.joined(GROUP, transport=transport)
        self.joined(GROUP6)
        self.receive(packet(GROUP, PORT + 1), packet(GROUP6, PORT + 1))
        self.assertEqual(other.data, [b"hello"])

    def test_closedPortOfAGroupIsNotAnswered(self) -> None:
        self.joined(GROUP)
        self.joined(GROUP6)
        self.assertEqual(self.receive(packet(GROUP, 9), packet(GROUP6, 9)), [])

    def test_scopeOfAGroupIsIgnored(self) -> None:
        self.joined("ff02::fb%tun0")
        self.assertTrue(self.isMember("ff02::fb"))

    def test_anyOwnAddressIsAnInterface(self) -> None:
        for number, interface in enumerate(("", "0.0.0.0", "10.0.0.2", "10.0.0.3")):
            self.joined(f"239.0.0.{number}", interface)
        for number, interface in enumerate(("", "::", "fd00::2", "fd00::3")):
            self.joined(f"ff05::{number}", interface)

    def test_foreignInterfacesAreRefused(self) -> None:
        for group, interface in ((GROUP, "10.0.0.4"), (GROUP, "::"), (GROUP, "fd00::2"), (GROUP, "eth0")):
            self.refused(group, interface)
        for group, interface in ((GROUP6, "fd00::4"), (GROUP6, "0.0.0.0"), (GROUP6, "10.0.0.2")):
            self.refused(group, interface)
        self.assertFalse(self.isMember(GROUP) or self.isMember(GROUP6))

    def test_addressesThatAreNoGroupsAreRefused(self) -> None:
        for group in ("10.0.0.2", "255.255.255.255", "240.0.0.1", "fd00::2", "::", "groups.example", ""):
            self.assertIn(group, self.refused(group))
            self.refused(group, leave=True)

    def test_groupsOfTheOtherVersionAreRefused(self) -> None:
        for number, interface, group in ((1, "0.0.0.0", GROUP6), (2, "10.0.0.2", GROUP6), (3, "::", GROUP)):
            transport, _ = self.listen(PORT + number, interface)
            self.assertIn(interface, self.refused(group, transport=transport))

    def test_joiningTwiceIsRefused(self) -> None:
        self.joined(GROUP)
        self.assertIn("already", self.refused(GROUP))
        self.successResultOf(self.transport.leaveGroup(GROUP))
        self.assertFalse(self.isMember(GROUP))

    def test_leavingWithoutJoiningIsRefused(self) -> None:
        other, _ = self.listen(PORT + 1)
        self.joined(GROUP)
        self.assertIn("not joined", self.refused(GROUP, transport=other, leave=True))
        self.assertTrue(self.isMember(GROUP))

    def test_groupIsHeardUntilTheLastTransportLeaves(self) -> None:
        other, _ = self.listen(PORT + 1)
        self.joined(GROUP)
        self.joined(GROUP, transport=other)
        self.successResultOf(self.transport.leaveGroup(GROUP))
        self.assertEqual(self.heard(packet(GROUP)), [b"hello"])
        self.successResultOf(other.leaveGroup(GROUP))
        self.assertEqual(self.heard(packet(GROUP)), [])

    def test_stoppingLeavesTheGroups(self) -> None:
        self.joined(GROUP)
        self.transport.stopListening()
        self.assertFalse(self.isMember(GROUP))
        self.transport.startListening()
        self.assertFalse(self.isMember(GROUP))
        self.joined(GROUP)

    def test_stoppedTransportCannotJoin(self) -> None:
        self.transport.stopListening()
        self.refused(GROUP)
        self.assertFalse(self.isMember(GROUP))

    def test_groupsOfEveryHostStayAfterLeaving(self) -> None:
        for group in ("224.0.0.1", "ff02::1", "ff02::1:ff00:2"):
            self.joined(group)
            self.successResultOf(self.transport.leaveGroup(group))
            self.assertTrue(self.isMember(group))
            self.assertEqual(self.heard(packet(group)), [b"hello"])

    def test_numberOfGroupsIsBounded(self) -> None:
        self.patch(addresses, "MAX_GROUPS", 3)
        for number in range(3):
            self.joined(f"239.0.0.{number}")
        self.assertIn("3 groups", self.refused(GROUP))
        self.assertNotIn(packAddress(GROUP), self.transport.groups)
        other, _ = self.listen(PORT + 1)
        self.joined("239.0.0.0", transport=other)
        self.successResultOf(self.transport.leaveGroup("239.0.0.1"))
        self.joined(GROUP)


class Joining(DatagramRecorder):
    """
    A protocol that joins a group whenever it is started.
    """

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Any] = []

    def startProtocol(self) -> None:
        self.results.append(self.transport.joinGroup(GROUP))


class StartTests(HostTestCase):
    """
    Groups that are joined before there is a port, and groups on a port that is stopped and started again.
    """

    def stop(self) -> None:
        self.port.stopListening()
        self.clock.advance(0)

    def test_groupMayBeJoinedBeforeThereIsAPort(self) -> None:
        self.stop()
        self.joined(GROUP)
        self.assertFalse(self.isMember(GROUP))
        self.port.startListening()
        self.assertEqual(self.heard(packet(GROUP)), [b"hello"])

    def test_groupMayBeLeftBeforeThereIsAPort(self) -> None:
        self.stop()
        self.joined(GROUP)
        self.successResultOf(self.transport.leaveGroup(GROUP))
        self.port.startListening()
        self.assertFalse(self.isMember(GROUP))

    def test_groupStaysJoinedWhenThePortIsStartedAgain(self) -> None:
        self.joined(GROUP)
        for _ in range(3):
            self.stop()
            self.assertFalse(self.isMember(GROUP))
            self.port.startListening()
            self.assertEqual(self.heard(packet(GROUP)), [b"hello"])
        self.successResultOf(self.transport.leaveGroup(GROUP))
        self.assertFalse(self.isMember(GROUP))
        self.joined(GROUP)
        self.assertTrue(self.isMember(GROUP))

    def test_protocolMayJoinAtEachStart(self) -> None:
        protocol = Joining()
        transport = self.host.listenUDP(PORT + 1, protocol)
        for _ in range(3):
            self.stop()
            self.port.startListening()
        self.assertEqual(len(protocol.results), 4)
        for result in protocol.results:
            self.successResultOf(result)
        self.assertTrue(self.isMember(GROUP))
        self.assertIn("already", self.refused(GROUP, transport=transport))
        transport.stopListening()
        self.assertFalse(self.isMember(GROUP))

    def test_protocolMayLeaveAtEachStop(self) -> None:
        class Leaving(Joining):
            # The transport of the test is used, because the protocol has none any more when this method is called.
            def stopProtocol(self) -> None:
                self.results.append(transport.leaveGroup(GROUP))

        protocol = Leaving()
        transport = self.host.listenUDP(PORT + 1, protocol)
        self.stop()
        self.port.startListening()
        for result in protocol.results:
            self.successResultOf(result)
        self.assertEqual((len(protocol.results), self.isMember(GROUP)), (3, True))

    def test_startFailsWithTooManyGroups(self) -> None:
        self.stop()
        self.patch(addresses, "MAX_GROUPS", 3)
        for number in range(4):
            self.joined(f"239.0.0.{number}")
        self.assertRaises(OSError, self.port.startListening)
        self.assertFalse(any(self.isMember(f"239.0.0.{number}") for number in range(4)))
        self.successResultOf(self.transport.leaveGroup("239.0.0.1"))
        self.port.startListening()
        self.assertTrue(self.isMember("239.0.0.3"))


class WriteTests(HostTestCase):
    def wrote(self, group: str, transport: Any = None) -> tuple[list[bytes], list[bytes]]:
        """
        Write a datagram to a group.

        @return: the packets that were sent on the link, and the payloads that were delivered to ourselves.
        """
        del self.protocol.received[:]
        before = len(self.device.sent)
        (transport or self.transport).write(b"hello", (group, PORT))
        self.clock.advance(0)
        return self.device.sent[before:], self.protocol.data

    def test_datagramToAForeignGroupIsOnlySent(self) -> None:
        for group, version in ((GROUP, 4), (GROUP6, 6)):
            expected = udpPacket(OURS[version], group, PORT, PORT, b"hello", hopLimit=1)
            self.assertEqual(self.wrote(group), ([expected], []))

    def test_memberHearsItsOwnDatagrams(self) -> None:
        for group, version in ((GROUP, 4), (GROUP6, 6)):
            self.joined(group)
            sent, heard = self.wrote(group)
            self.assertEqual((len(sent), heard), (1, [b"hello"]))
            self.assertEqual(self.protocol.received[0][1], (OURS[version], PORT))

    def test_groupsOfEveryHostAreLoopedBack(self) -> None:
        for group in ("224.0.0.1", "ff02::1"):
            self.assertEqual(self.wrote(group)[1], [b"hello"])

    def test_otherTransportsHearOwnDatagrams(self) -> None:
        other, _ = self.listen(PORT + 1)
        self.joined(GROUP)
        self.assertEqual(self.wrote(GROUP, other)[1], [b"hello"])

    def test_answersToLoopedDatagramsComeBack(self) -> None:
        self.joined(GROUP)
        other, protocol = self.listen(PORT + 1)
        self.protocol.then = self.protocol.write
        for _ in range(2):
            self.wrote(GROUP, other)
            self.clock.advance(0)
        self.assertEqual(protocol.received, [(b"hello", (OURS[4], PORT))] * 2)

    def test_loopbackModeOff(self) -> None:
        self.joined(GROUP)
        self.assertIs(self.transport.getLoopbackMode(), True)
        self.transport.setLoopbackMode(0)
        self.assertIs(self.transport.getLoopbackMode(), False)
        sent, heard = self.wrote(GROUP)
        self.assertEqual((len(sent), heard), (1, []))
        self.transport.setLoopbackMode(1)
        self.assertEqual(self.wrote(GROUP)[1], [b"hello"])

    def test_longDatagramIsFragmentedAndLoopedBack(self) -> None:
        self.joined(GROUP)
        self.transport.write(bytes(4000), (GROUP, PORT))
        self.clock.advance(0)
        self.assertEqual([len(data) for data in self.device.sent], [1500, 1500, 1068])
        self.assertEqual([len(data) for data, _ in self.protocol.received], [4000])

    def test_ttlIsSetForGroups(self) -> None:
        self.assertEqual(self.transport.getTTL(), 1)
        for ttl in (2, 255):
            self.transport.setTTL(ttl)
            self.assertEqual(self.transport.getTTL(), ttl)
            self.assertEqual(self.wrote(GROUP)[0][0][8], ttl)
            self.assertEqual(self.wrote(GROUP6)[0][0][7], ttl)

    def test_ttlDoesNotApplyToHostsAndBroadcasts(self) -> None:
        self.transport.setTTL(7)
        self.assertEqual(self.wrote(THEIRS[4])[0][0][8], 64)
        self.transport.setBroadcastAllowed(True)
        self.assertEqual(self.wrote("255.255.255.255")[0][0][8], 64)

    def test_ttlOfZeroIsNotSentOnTheLink(self) -> None:
        self.joined(GROUP)
        self.transport.setTTL(0)
        self.assertEqual(self.wrote(GROUP), ([], [b"hello"]))

    def test_interfaceLocalGroupIsNotSentOnTheLink(self) -> None:
        self.joined("ff01::5")
        self.assertEqual(self.wrote("ff01::5"), ([], [b"hello"]))
        self.assertEqual(self.wrote("ff01::6"), ([], []))

    def test_invalidTTLIsAValueError(self) -> None:
        for ttl in (-1, 256, "1", None, 1.5):
            self.assertRaises(ValueError, self.transport.setTTL, ttl)
        self.assertEqual(self.transport.getTTL(), 1)

    def test_connectedToAGroup(self) -> None:
        self.transport.connect(GROUP, PORT)
        self.transport.write(b"hello")
        self.assertEqual(self.device.sent, [udpPacket(OURS[4], GROUP, PORT, PORT, b"hello", hopLimit=1)])


class OutgoingTests(HostTestCase):
    def source(self, group: str) -> bytes:
        before = len(self.device.sent)
        self.transport.write(b"hello", (group, PORT))
        (sent,) = self.device.sent[before:]
        return sent[12:16] if sent[0] >> 4 == 4 else sent[8:24]

    def set(self, address: str | int) -> int:
        return cast(int, self.successResultOf(self.transport.setOutgoingInterface(address)))

    def test_outgoingAddressIsTheSource(self) -> None:
        for address, group, other in (("10.0.0.3", GROUP, GROUP6), ("fd00::3", GROUP6, GROUP)):
            self.assertEqual(self.set(address), 1)
            self.assertEqual(self.transport.getOutgoingInterface(), address)
            self.assertEqual(self.source(group), packAddress(address))
            self.assertEqual(self.source(other), packAddress(OURS[6 if ":" in other else 4]))

    def test_outgoingAddressIsForGroupsOnly(self) -> None:
        self.set("10.0.0.3")
        self.assertEqual(self.source(THEIRS[4]), packAddress(OURS[4]))

    def test_unspecifiedAddressAndNumbersResetTheSource(self) -> None:
        self.assertEqual(self.transport.getOutgoingInterface(), "0.0.0.0")
        for nothing in ("0.0.0.0", "::", 0, 7):
            self.set("10.0.0.3")
            self.assertEqual(self.set(nothing), 1)
            self.assertEqual(self.transport.getOutgoingInterface(), "0.0.0.0")
            self.assertEqual(self.source(GROUP), packAddress(OURS[4]))

    def test_outgoingInterfaceForIPv6IsANumber(self) -> None:
        transport, _ = self.listen(PORT + 1, "::")
        self.assertEqual(transport.getOutgoingInterface(), 0)

    def test_outgoingAddressOverridesTheBoundAddress(self) -> None:
        self.transport, _ = self.listen(PORT + 1, "10.0.0.2")
        self.set("10.0.0.3")
        self.assertEqual(self.source(GROUP), packAddress("10.0.0.3"))

    def test_foreignOutgoingAddressIsNotSet(self) -> None:
        self.assertEqual((self.set("10.0.0.4"), self.set("fd00::4")), (0, 0))
        self.assertEqual(self.source(GROUP), packAddress(OURS[4]))

    def test_invalidOutgoingAddressFails(self) -> None:
        for wrong in ("localhost", "eth0", ""):
            self.failureResultOf(self.transport.setOutgoingInterface(wrong), InvalidAddressError)


class ListenTests(HostTestCase):
    def test_severalTransportsMayShareAPort(self) -> None:
        found = [self.listen(PORT + 1, multiple=True) for _ in range(3)]
        self.joined(GROUP, transport=found[0][0])
        self.receive(packet(GROUP, PORT + 1), udpPacket(THEIRS[4], OURS[4], 1234, PORT + 1, b"to one"))
        for _, protocol in found:
            self.assertEqual([data for data, _ in protocol.received], [b"hello", b"to one"])
        found[1][0].stopListening()
        self.receive(packet(GROUP, PORT + 1))
        self.assertEqual([len(protocol.received) for _, protocol in found], [3, 2, 3])

    def test_portIsSharedOnlyIfAllAskForIt(self) -> None:
        self.assertRaises(CannotListenError, self.listen, PORT, "", True)
        self.listen(PORT + 1, multiple=True)
        self.assertRaises(CannotListenError, self.listen, PORT + 1)
        self.assertRaises(CannotListenError, self.host.listenUDP, PORT + 1, DatagramRecorder())
        self.assertRaises(CannotListenError, self.listen, PORT + 1, OURS[4])

    def test_portZeroIsAFreePort(self) -> None:
        one, _ = self.listen(0, multiple=True)
        other, _ = self.listen(0, multiple=True)
        self.assertNotEqual(one.getHost().port, other.getHost().port)

    def test_listenMulticastTakesAddressAndSize(self) -> None:
        transport = self.host.listenMulticast(PORT + 1, DatagramRecorder(), OURS[6], 1000, True)
        self.assertEqual((transport.getHost().host, transport.getHost().port), (OURS[6], PORT + 1))


class PlainTests(SynchronousTestCase):
    """
    Groups on the IP and UDP layers without a L{Host<txtuntap.Host>}.
    """

    def make(self, own: list[str] | None) -> None:
        self.ip, self.udp = IPProtocol(own), RawUDPProtocol()
        self.ip.addProto(17, self.udp)
        self.protocol = DatagramRecorder()
        self.udp.addProto(PORT, self.protocol)
        self.wire = RecordingPort()
        self.ip.makeConnection(cast(Any, self.wire))

    def heard(self, group: str) -> int:
        before = len(self.protocol.received)
        self.ip.packetReceived(Packet(packet(group), port=self.wire))
        return len(self.protocol.received) - before

    def test_layerWithAddressesHearsJoinedGroups(self) -> None:
        self.make(["10.0.0.2/24"])
        for group in (GROUP, GROUP6):
            self.assertEqual(self.heard(group), 0)
            self.successResultOf(self.protocol.transport.joinGroup(group))
            self.assertEqual(self.heard(group), 1)
            self.successResultOf(self.protocol.transport.leaveGroup(group))
            self.assertEqual(self.heard(group), 0)
        self.assertEqual(self.wire.sent, [])

    def test_layerWithoutAddressesHearsEveryGroup(self) -> None:
        self.make(None)
        transport = self.protocol.transport
        self.assertEqual(self.heard(GROUP), 1)
        self.successResultOf(transport.joinGroup(GROUP, "192.0.2.1"))
        self.assertEqual(self.heard(GROUP), 1)
        self.assertEqual(self.successResultOf(transport.setOutgoingInterface("192.0.2.1")), 1)
        transport.write(b"hello", (GROUP, PORT))
        self.assertEqual(self.wire.sent, [udpPacket("192.0.2.1", GROUP, PORT, PORT, b"hello", hopLimit=1)])
        cast(Any, self.wire.clock).advance(0)
        self.assertEqual(self.protocol.received[-1], (b"hello", ("192.0.2.1", PORT)))

    def test_groupMayBeJoinedBeforeTheFirstAddress(self) -> None:
        self.make(None)
        self.successResultOf(self.protocol.transport.joinGroup(GROUP))
        self.ip.addAddress("10.0.0.2/24")
        self.assertEqual((self.heard(GROUP), self.heard(GROUP6)), (1, 0))
        self.successResultOf(self.protocol.transport.leaveGroup(GROUP))
        self.assertEqual(self.heard(GROUP), 0)

    def test_invalidAddressChangesNothing(self) -> None:
        self.make(None)
        self.assertRaises(ValueError, self.ip.addAddress, "here")
        self.assertEqual(self.heard(GROUP), 1)

    def test_rawProtocolsJoinByTheIPLayer(self) -> None:
        self.make(["10.0.0.2/24"])
        self.ip.join(packAddress(GROUP))
        self.ip.join(packAddress(GROUP))
        self.ip.leave(packAddress(GROUP))
        self.assertEqual(self.heard(GROUP), 1)
        self.ip.leave(packAddress(GROUP))
        self.assertEqual(self.heard(GROUP), 0)
        self.assertRaises(ValueError, self.ip.leave, packAddress(GROUP))
        for wrong in ("10.0.0.9", "255.255.255.255", "fd00::9"):
            self.assertRaises(ValueError, self.ip.join, packAddress(wrong))

    def test_groupMayBeJoinedWithoutAnIPLayer(self) -> None:
        udp = RawUDPProtocol()
        udp.addProto(PORT, DatagramProtocol())
        (transport,) = udp.bound(PORT)
        self.successResultOf(transport.joinGroup(GROUP))
        self.failureResultOf(transport.joinGroup(GROUP), MulticastJoinError)
        self.successResultOf(transport.leaveGroup(GROUP))
        self.assertEqual(transport.groups, {})
