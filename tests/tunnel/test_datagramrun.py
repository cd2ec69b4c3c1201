"""
Tests for datagrams that are joined on their way to a tunnel's peer: L{txtuntap.tunnel.datagramrun}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import RecordingPort
from tests.superpackets import superpacket
from tests.tunnel.case import Carrier
from txtuntap.device import TAP, TUN
from txtuntap.layer.relay import EVERYTHING
from txtuntap.packet import Packet
from txtuntap.tunnel import Tunnel
from txtuntap.wire.checksum import checksum
from txtuntap.wire.offload import DATA_VALID, NEEDS_CHECKSUM, NONE, UDP, USO, Offload, fault, finish, shifted

#: The offload header that a device puts before each packet.
BEFORE = bytes(10)
LINKS = {4: bytes(12) + b"\x08\0", 6: bytes(12) + b"\x86\xdd"}


def datagram(version: int = 4, payload: bytes = bytes(100), number: int = 0, link: bytes = b"") -> Packet:
    """
    Make a datagram with an open checksum, as a device delivers it.

    @param number: the identification over IPv4.
    """
    data, offload, network = superpacket(version, UDP, payload, max(len(payload), 1), link=link)
    data = changed(data, network + 4, number.to_bytes(2, "big")) if version == 4 else data
    packet = Packet(BEFORE + data, len(BEFORE))
    packet.offload = shifted(replace(offload, type=NONE, size=0), len(BEFORE))
    return packet


def changed(data: bytes, at: int, octets: bytes) -> bytes:
    """
    Change octets of an IPv4 packet or frame, and make the header checksum right again.
    """
    made = bytearray(data)
    made[at : at + len(octets)] = octets
    network = len(data) - len(data[data.index(b"\x45\0") :])
    made[network + 10 : network + 12] = bytes(2)
    made[network + 10 : network + 12] = checksum(bytes(made[network : network + 20])).to_bytes(2, "big")
    return bytes(made)


class DatagramRunTests(SynchronousTestCase):
    """
    Tests for the datagrams that a tunnel joins, and for those that it does not.
    """

    def sent(
        self,
        packets: Sequence[Packet],
        mode: int = TUN,
        offloads: int = EVERYTHING,
        reads: bool = True,
        room: bool = True,
    ) -> list[tuple[bytes, Offload | None]]:
        """
        Send packets that a port delivers in one read.

        @param offloads: the offloads that the peer accepts.
        @param reads: whether the port tells when the read ends.

        @return: what the carrier sent.
        """
        self.tunnel = Tunnel(mode)
        port = RecordingPort()
        ends: list[Callable[[], object]] = []
        self.tunnel.makeConnection(port)
        self.carrier = Carrier(offloads, room)
        self.tunnel.carrierUp(self.carrier)
        for each in packets:
            each.port = port
            port.readEnd = ends if reads else None
            self.tunnel.packetReceived(each)
        self.assertLessEqual(len(ends), 1)
        for end in ends:
            end()
        return self.carrier.sent

    def counts(self, packets: Sequence[Packet], link: bytes = b"") -> list[int]:
        """
        Send packets, check that the peer makes the same packets of them in the same order, and count the packets in
        each that was sent.
        """
        wanted = [each for packet in packets for each in packet.finished()]
        counts = []
        again: list[bytes] = []
        for data, offload in self.sent(packets, TAP if link else TUN):
            if offload is not None:
                self.assertIsNone(fault(data, offload, len(link)))
            each = [data] if offload is None else finish(data, offload, len(link))
            counts.append(len(each))
            again += each
        self.assertEqual([each.data[each.start : each.end] for each in wanted], again)
        self.assertEqual(sum(counts), self.tunnel.counters.outPackets)
        self.assertEqual(sum(map(len, again)), self.tunnel.counters.outOctets)
        return counts

    @given(st.sampled_from([4, 6]), st.integers(1, 40), st.integers(1, 1400), st.integers(0, 1400), st.booleans())
    def test_thePeerGetsTheSameDatagrams(self, version: int, count: int, size: int, last: int, isTap: bool) -> None:
        link = LINKS[version] if isTap else b""
        sizes = [size] * count + [min(last, size)] * (last > 0)
        packets = [
            datagram(version, bytes((number + at) & 0xFF for at in range(octets)), 0xFFFE + number & 0xFFFF, link)
            for number, octets in enumerate(sizes)
        ]
        self.assertEqual([len(sizes)], self.counts(packets, link))

    def test_aSuperpacketHasNoMoreThanTheKernelTakes(self) -> None:
        packets = [datagram(payload=bytes(10), number=number) for number in range(300)]
        self.assertEqual([128, 128, 44], self.counts(packets))
        for version in 4, 6:
            packets = [datagram(version, bytes(1400), number) for number in range(100)]
            self.assertEqual([46, 46, 8], self.counts(packets))
            for data, _ in self.carrier.sent:
                self.assertLessEqual(len(data), 65535)
        self.assertEqual([1, 1], self.counts([datagram(payload=bytes(40000)), datagram(payload=bytes(40000))]))

    def test_aShorterDatagramEndsASuperpacket(self) -> None:
        sizes = [100, 100, 99, 100, 100, 200, 200, 0, 0, 5]
        packets = [datagram(payload=bytes(size), number=number) for number, size in enumerate(sizes)]
        self.assertEqual([3, 2, 2, 1, 1, 1], self.counts(packets))

    def test_theOrderOfPacketsIsKept(self) -> None:
        """
        A packet of another kind sends the datagrams that wait first.
        """
        tcp, record, _ = superpacket(4, 1, bytes(3000), 1000)
        other = Packet(BEFORE + tcp, len(BEFORE))
        other.offload = shifted(record, len(BEFORE))
        other.network = len(BEFORE)
        plain = Packet(finish(tcp, record)[0])
        packets = [datagram(), datagram(number=1), other, datagram(6), datagram(6), plain, datagram()]
        self.assertEqual([2, 3, 2, 1, 1], self.counts(packets))

    def test_datagramsWithDifferentHeadersAreNotJoined(self) -> None:
        for version, at, octets in (
            (4, 1, b"\x08"),
            (4, 8, b"\x09"),
            (4, 4, b"\0\7"),
            (4, 6, b"\x40\0"),
            (4, 12, b"\x0a\x09\0\x63"),
            (4, 20, b"\x12\x34"),
            (4, 26, b"\x12\x34"),
            (6, 1, b"\x10"),
            (6, 7, b"\x09"),
            (6, 39, b"\x63"),
            (6, 42, b"\x12\x34"),
        ):
            packets = [datagram(version, number=number) for number in range(4)]
            if version == 4:
                # Without Don't Fragment, the identification has to fit, too.
                for each in packets:
                    each.data = BEFORE + changed(each.data[10:], 6, b"\0\0")
            data = packets[2].data[10:]
            made = changed(data, at, octets) if version == 4 else data[:at] + octets + data[at + len(octets) :]
            packets[2].data = BEFORE + made
            self.assertEqual([2, 1, 1], self.counts(packets), (version, at))

    def test_datagramsThatMayBeFragmentedAreNumbered(self) -> None:
        """
        The segments of a superpacket are numbered one after another. This is needed only without Don't Fragment.
        """
        packets = [datagram(number=7), datagram(number=7)]
        ((_, offload),) = self.sent(packets)
        assert offload is not None
        self.assertTrue(offload.isSuperpacket)
        for each in packets:
            each.data = BEFORE + changed(each.data[10:], 6, b"\0\0")
        self.assertEqual([1, 1], self.counts(packets))

    def test_aChecksumThatIsNotOpenStays(self) -> None:
        """
        A new checksum would hide the corruption that the old one shows. A verified one may become corrupt later.
        """
        closed = [each for number in range(3) for each in datagram(number=number).finished()]
        for record in None, Offload(DATA_VALID):
            for each in closed:
                each.offload = record
            self.assertEqual([(bytes(each), None) for each in closed], self.sent(closed))
        mixed = [datagram(), *closed[1:2], datagram(number=2)]
        self.assertEqual([1, 1, 1], self.counts(mixed))

    def test_datagramsWithoutValidHeadersAreNotJoined(self) -> None:
        whole = datagram().data[10:]
        six = datagram(6).data[10:]
        spoiled = [
            whole[:-1],
            whole + b"\0",
            whole[:10] + b"\1\1" + whole[12:],
            changed(whole, 6, b"\x20\0"),
            changed(whole, 9, b"\6"),
            whole[:24] + b"\0\x10" + whole[26:],
            b"\x46" + whole[1:],
            b"\x65" + whole[1:],
            six[:-1],
            six[:6] + b"\0" + six[7:],
            b"\x40" + six[1:],
            whole[:28],
            whole[:20],
            b"",
        ]
        for data in spoiled:
            record = datagram(6 if len(data) > 140 else 4).offload
            packets = []
            for _ in range(3):
                packets.append(Packet(BEFORE + data, len(BEFORE)))
                packets[-1].offload = record
            unfinished = shifted(record, -len(BEFORE))
            self.assertEqual([(data, unfinished)] * 3, self.sent(packets))

    def test_framesWithOtherHeadersAreNotJoined(self) -> None:
        tagged = bytes(12) + b"\x81\0\0\5\x08\0"
        for link in tagged, bytes(12) + b"\x86\xdd":
            packets = [datagram(number=number, link=link) for number in range(3)]
            self.assertEqual(3, len(self.sent(packets, TAP)))
        packets = [datagram(number=number, link=bytes([number // 2] * 12) + b"\x08\0") for number in range(4)]
        self.assertEqual([2, 2], self.counts(packets, LINKS[4]))

    def test_datagramsAreJoinedOnlyForAPeerThatTakesThem(self) -> None:
        for offloads, reads in (EVERYTHING & ~USO, True), (USO, True), (0, True), (EVERYTHING, False):
            packets = [datagram(number=number) for number in range(3)]
            self.assertEqual(3, len(self.sent(packets, offloads=offloads, reads=reads)))

    def test_aTruncatedDatagramIsDropped(self) -> None:
        packets = [datagram(number=number) for number in range(4)]
        packets[2].partial = True
        self.assertEqual(2, len(self.sent(packets)))
        packets[0].partial = True
        self.sent(packets)
        self.assertEqual(2, self.tunnel.counters["outTruncated"])

    def test_eachDatagramOfADroppedSuperpacketIsCounted(self) -> None:
        self.sent([datagram(number=number) for number in range(3)], room=False)
        self.assertEqual(3, self.tunnel.counters["outDiscards"])

    def test_aCarrierThatEndsInTheReadLosesTheDatagramsThatWait(self) -> None:
        packets = [datagram(number=number) for number in range(3)]
        tunnel, port = Tunnel(TUN), RecordingPort()
        tunnel.makeConnection(port)
        carrier, ends = Carrier(), []  # type: ignore[var-annotated]
        tunnel.carrierUp(carrier)
        port.readEnd = ends
        for each in packets:
            each.port = port
            tunnel.packetReceived(each)
        tunnel.carrierDown(carrier)
        ends.pop()()
        self.assertEqual(3, tunnel.counters["outNotConnected"])
        self.assertEqual([], carrier.sent)

    def test_theRecordSaysThatTheChecksumIsOpen(self) -> None:
        ((data, offload),) = self.sent([datagram(number=number) for number in range(3)])
        self.assertEqual(Offload(NEEDS_CHECKSUM, UDP, 28, 100, 20, 6), offload)
        self.assertEqual(328, len(data))
