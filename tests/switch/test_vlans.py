"""
Tests for the VLANs of a L{Switch<txtuntap.switch.Switch>}: which ports receive a frame, and with which tag.
"""

from __future__ import annotations

from tests.network.test_link import WirePackets
from tests.superpackets import superframe, superpacket
from tests.switch.switching import ALL, TYPE, A, B, C, D, SwitchTestCase, frame, tagged
from txtuntap.testing import ethernetFrame
from txtuntap.wire.ethernet import TAG
from txtuntap.wire.offload import ECN, MAX_TAGS, NEEDS_CHECKSUM, TCP4, TCP6, UDP, Offload, finish, shifted


class VLANTests(SwitchTestCase):
    def test_noFrameIsForwardedBetweenVLANs(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 10}, {"vlan": 20}, {})
        self.sendTo([1], 0, frame(A, ALL))
        self.sendTo([], 2, frame(C, ALL))
        self.sendTo([], 3, frame(D, A))

    def test_eachVLANHasStationsOfItsOwn(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 10}, {"vlan": 20}, {"vlan": 20}, {"vlan": 20})
        self.send(0, frame(A, ALL))
        self.send(2, frame(A, ALL))
        self.sendTo([0], 1, frame(B, A))
        self.sendTo([2], 3, frame(D, A))
        self.assertEqual([each.vlan for each in self.switch.stations], [10, 10, 20, 20])

    def test_framesOnATrunkHaveTags(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 20}, {"trunk": [10, 20]}, {"trunk": [20, 30]})
        plain = frame(A, ALL)
        self.assertEqual(self.send(0, plain), {2: [tagged(plain, 10)]})
        self.assertEqual(self.send(1, plain), {2: [tagged(plain, 20)], 3: [tagged(plain, 20)]})
        back = frame(D, A)
        self.assertEqual(self.send(2, tagged(back, 10)), {0: [back]})
        self.assertEqual(self.send(3, tagged(back, 20)), {1: [back]})
        self.assertEqual(self.send(2, tagged(frame(D, ALL), 20)), {1: [frame(D, ALL)], 3: [tagged(frame(D, ALL), 20)]})

    def test_thePriorityIsKeptBetweenTrunks(self) -> None:
        self.plugged({"trunk": [10]}, {"trunk": [10]}, {"vlan": 10})
        data = frame(A, ALL)
        self.assertEqual(self.send(0, tagged(data, 0xE00A)), {1: [tagged(data, 0xE00A)], 2: [data]})

    def test_framesOfTheNativeVLANHaveNoTag(self) -> None:
        self.plugged({"trunk": [10], "vlan": 1}, {}, {"trunk": [1]})
        data = frame(A, ALL)
        self.assertEqual(self.send(0, data), {1: [data], 2: [tagged(data, 1)]})
        self.assertEqual(self.send(1, data), {0: [data], 2: [tagged(data, 1)]})
        self.assertEqual(self.send(2, tagged(data, 1)), {0: [data], 1: [data]})

    def test_aFrameWithTheTagOfTheNativeVLANIsAccepted(self) -> None:
        native, *_ = self.plugged({"trunk": [10], "vlan": 1}, {}, {"trunk": [1]})
        data = frame(A, ALL)
        self.assertEqual(self.send(0, tagged(data, 0xA001)), {1: [data], 2: [tagged(data, 0xA001)]})
        self.sendTo([0], 1, frame(B, A))
        self.switch.removePort(native)
        self.sendTo([], 1, frame(B, A, b"", 1))
        self.assertEqual(self.send(1, frame(B, A)), {2: [tagged(frame(B, A), 1)]})

    def test_aPriorityTagPutsAFrameIntoNoVLAN(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 10}, {"trunk": [10]})
        data = frame(A, ALL)
        self.assertEqual(self.send(0, tagged(data, 0x6000)), {1: [data], 2: [tagged(data, 0x600A)]})

    def test_aFrameInNoVLANOfThePortIsDropped(self) -> None:
        self.plugged({"vlan": 10}, {"trunk": [10]}, {"trunk": range(1, 4095)}, {"vlan": 30})
        for number, data in (
            (0, tagged(frame(A, ALL), 10)),
            (0, tagged(frame(A, ALL), 20)),
            (1, frame(A, ALL)),
            (1, tagged(frame(A, ALL), 0)),
            (1, tagged(frame(A, ALL), 30)),
            (2, tagged(frame(A, ALL), 4095)),
        ):
            self.sendTo([], number, data)
        counts = [self.switch.counters[f"port{number}"]["inVlans"] for number in (1, 2, 3)]
        self.assertEqual(counts, [2, 3, 1])

    def test_aSecondTagReachesNoOtherVLAN(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 10, "trunk": [20]}, {"trunk": [10, 20]}, {"vlan": 20})
        hidden = tagged(frame(A, ALL), 20)
        # The second tag is behind a priority tag, then behind the tag of the native VLAN of another trunk.
        self.assertEqual(self.send(0, tagged(hidden, 0)), {2: [tagged(hidden, 10)]})
        self.assertEqual(self.send(2, tagged(hidden, 10)), {})
        self.assertEqual(self.switch.counters["port2"]["outVlans"], 2)

    def test_aTagBehindServicePriorityTagsReachesNoOtherVLAN(self) -> None:
        # Linux removes service tags with VLAN 0, because they are priority tags.
        self.plugged({"vlan": 10}, {"vlan": 10, "trunk": [20]}, {"trunk": [10, 20]}, {"vlan": 20}, {"vlan": 10})
        inner = tagged(frame(A, ALL), 20)
        for count in 1, 2, MAX_TAGS, MAX_TAGS + 3:
            hidden = inner[:12] + bytes.fromhex("88a86000") * count + inner[12:]
            for data in hidden, tagged(hidden, 0):
                self.assertEqual(self.send(0, data), {2: [tagged(hidden, 10)]}, count)
            self.assertEqual(self.send(2, tagged(hidden, 10)), {})
        self.assertEqual(self.switch.counters["port2"]["outVlans"], 12)
        # A tag behind the tag of a service VLAN belongs to the customer of that service, so the frame is forwarded.
        plain = inner[:12] + bytes.fromhex("88a80005") + inner[12:]
        self.assertEqual(self.send(0, plain), {1: [plain], 2: [tagged(plain, 10)], 4: [plain]})

    def test_anOpenChecksumInATagIsDropped(self) -> None:
        self.plugged({"vlan": 10}, {"vlan": 10, "proto": WirePackets()}, {"vlan": 10, "trunk": [20]})
        data = frame(A, ALL, bytes(40))
        for tag in "81000000", "88a80000":
            for count in 1, 3, MAX_TAGS + 2:
                tags = bytes.fromhex(tag) * count
                # The checksum would be written into each tag in turn.
                for start in range(14, 14 + 4 * count, 2):
                    opened = Offload(NEEDS_CHECKSUM, checksumStart=start)
                    self.assertEqual(self.send(0, data[:12] + tags + data[12:], opened), {}, (tag, count, start))

    def test_aFrameWithAServiceTagIsForwardedUnchanged(self) -> None:
        self.plugged({}, {})
        self.sendTo([1], 0, ethernetFrame(A, ALL, 0x88A8, TAG.pack(20, TYPE) + bytes(1500)))

    def test_theOffsetsOfAnOffloadMoveWithTags(self) -> None:
        self.plugged({"vlan": 10}, {"trunk": [10]}, {"vlan": 10})
        data, offload = superframe(bytes(300), 100)
        self.ends[0].transport.writePacket([data], offload)
        self.clock.advance(0)
        (packet,) = self.ends[1].packets
        self.assertEqual((bytes(packet), packet.offload), (tagged(data, 10), shifted(offload, 4)))
        self.assertEqual(
            [bytes(each) for each in packet.finished()], [tagged(x, 10) for x in finish(data, offload, 14)]
        )
        self.received()
        self.ends[1].transport.writePacket([tagged(data, 10)], shifted(offload, 4))
        self.clock.advance(0)
        (packet,) = self.ends[0].packets
        self.assertEqual((bytes(packet), packet.offload), (data, offload))

    def test_superpacketsOfEachTypeAreForwardedWithAndWithoutTags(self) -> None:
        self.plugged({"vlan": 10}, {"trunk": [10]}, {"proto": WirePackets(), "trunk": [10]}, {"proto": WirePackets()})
        self.plug(WirePackets(), vlan=10)
        for version, kind in (4, UDP), (6, UDP), (4, TCP4), (4, TCP4 | ECN), (6, TCP6):
            link = ALL + A + (b"\x08\0" if version == 4 else b"\x86\xdd")
            data, offload, network = superpacket(version, kind, bytes(range(256)) * 4, 100, link=link)
            cut = finish(data, offload, network)
            with_tags = [tagged(each, 0x600A) for each in cut]
            there = self.send(0, data, offload)
            self.assertEqual(there, {1: [tagged(data, 10)], 2: [tagged(each, 10) for each in cut], 4: cut})
            back = self.send(1, tagged(data, 0x600A), shifted(offload, 4))
            self.assertEqual(back, {0: [data], 2: with_tags, 4: cut})

    def test_aSuperpacketIsSegmentedForATransportThatTakesNone(self) -> None:
        self.plugged({}, {"proto": WirePackets()}, {"proto": WirePackets(), "trunk": [1]}, {})
        data, offload = superframe(bytes(300), 100)
        cut = finish(data, offload, 14)
        expected = {1: cut, 2: [tagged(each, 1) for each in cut], 3: [data]}
        self.assertEqual(self.send(0, data, offload), expected)
