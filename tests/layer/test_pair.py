"""
Tests for L{txtuntap.layer.pair}: the arguments of C{datagramReceived} for protocols written for C{twisted.pair}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import PairRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet
from txtuntap.layer.pair import deviceReceiver
from txtuntap.testing import ethernetFrame, ipPacket

STATION = "02:00:00:00:00:01"
OTHER = "02:00:00:00:00:02"


class DeviceReceiverTests(SynchronousTestCase):
    def test_aShortSignatureGetsDataAndPartial(self) -> None:
        class Short:
            calls: list[tuple[bytes, object]] = []  # noqa: RUF012

            def datagramReceived(self, data: bytes, partial: int = 0) -> None:
                self.calls.append((data, partial))

        deviceReceiver(Short())(Packet(b"--abc", start=2, partial=True))
        self.assertEqual(Short.calls, [(b"abc", True)])

    def full(self, packet: Packet) -> tuple[Any, ...]:
        calls = []

        class Full:
            def datagramReceived(self, data: bytes, partial: int, dest: None, source: None, protocol: int) -> None:
                calls.append((data, partial, dest, source, protocol))

        deviceReceiver(Full())(packet)
        (call,) = calls
        return call

    def test_aLongSignatureGetsTheEtherTypeOfTheIPVersion(self) -> None:
        for first, etherType in ((0x45, 0x0800), (0x60, 0x86DD), (0x70, 0)):
            data = bytes((first,)) + b"abc"
            self.assertEqual(self.full(Packet(data)), (data, False, None, None, etherType))

    def test_aLongSignatureGetsTheEtherTypeOfTheDevice(self) -> None:
        self.assertEqual(self.full(Packet(b"\x45", etherType=0x88CC))[-1], 0x88CC)

    def test_emptyPacketHasNoEtherType(self) -> None:
        self.assertEqual(self.full(Packet(b"")), (b"", False, None, None, 0))


class FramePayloadTests(SynchronousTestCase):
    def test_aFramePayloadHasItsArguments(self) -> None:
        ethernet, recorder = EthernetProtocol(), PairRecorder()
        ethernet.addProto(0x0800, recorder)
        ethernet.packetReceived(Packet(ethernetFrame(STATION, OTHER, 0x0800, b"payload"), partial=True))
        self.assertEqual(
            recorder.calls,
            [
                {
                    "data": b"payload",
                    "partial": True,
                    "dest": b"\x02\0\0\0\0\x02",
                    "source": b"\x02\0\0\0\0\x01",
                    "protocol": 0x0800,
                }
            ],
        )

    def test_theEtherTypeBehindATagIsPassed(self) -> None:
        ethernet, recorder = EthernetProtocol(), PairRecorder()
        ethernet.addProto(0x0800, recorder, vlan=5)
        ethernet.packetReceived(Packet(ethernetFrame(STATION, OTHER, 0x0800, b"payload", vlan=5)))
        (call,) = recorder.calls
        self.assertEqual((call["data"], call["protocol"]), (b"payload", 0x0800))

    def test_methodIsLookedUpAtTheCall(self) -> None:
        ethernet, recorder, calls = EthernetProtocol(), PairRecorder(), []
        ethernet.addProto(0x0800, recorder)
        recorder.datagramReceived = lambda **arguments: calls.append(arguments["data"])  # type: ignore[method-assign]
        ethernet.packetReceived(Packet(ethernetFrame(STATION, OTHER, 0x0800, b"payload")))
        self.assertEqual((calls, recorder.calls), ([b"payload"], []))


class DatagramTests(SynchronousTestCase):
    def received(self, protocol: int, packet: Packet) -> dict[str, Any]:
        ip, recorder = IPProtocol(), PairRecorder()
        ip.addProto(protocol, recorder)
        ip.packetReceived(packet)
        (call,) = recorder.calls
        return call

    def test_anIPv4DatagramHasItsArguments(self) -> None:
        data = ipPacket("10.0.0.1", "10.0.0.2", 1, b"payload", 9, identification=0x1234, tos=0xB8)
        self.assertEqual(
            self.received(1, Packet(data, partial=True)),
            {
                "data": b"payload",
                "partial": True,
                "source": "10.0.0.1",
                "dest": "10.0.0.2",
                "protocol": 1,
                "version": 4,
                "ihl": 20,
                "tos": 0xB8,
                "tot_len": 27,
                "fragment_id": 0x1234,
                "fragment_offset": 0,
                "dont_fragment": True,
                "more_fragments": False,
                "ttl": 9,
            },
        )

    def test_dontFragmentIsPassed(self) -> None:
        data = ipPacket("10.0.0.1", "10.0.0.2", 1, b"payload", fragment=0)
        self.assertIs(self.received(1, Packet(data))["dont_fragment"], False)

    def test_optionsCountInTheHeaderLength(self) -> None:
        call = self.received(1, Packet(ipPacket("10.0.0.1", "10.0.0.2", 1, b"payload", options=b"\x94\x04\0\0")))
        self.assertEqual((call["data"], call["ihl"], call["tot_len"]), (b"payload", 24, 31))

    def test_anIPv6DatagramHasTheArgumentsOfIPv4(self) -> None:
        self.assertEqual(
            self.received(58, Packet(ipPacket("fd00::1", "fd00::2", 58, b"payload", 9, tos=0xB8))),
            {
                "data": b"payload",
                "partial": False,
                "source": "fd00::1",
                "dest": "fd00::2",
                "protocol": 58,
                "version": 6,
                "ihl": 40,
                "tos": 0xB8,
                "tot_len": 47,
                "fragment_id": 0,
                "fragment_offset": 0,
                "dont_fragment": True,
                "more_fragments": False,
                "ttl": 9,
            },
        )

    def test_extensionHeadersCountInTheHeaderLength(self) -> None:
        call = self.received(58, Packet(ipPacket("fd00::1", "fd00::2", 60, b"\x3a\x00\x01\x04\0\0\0\0payload")))
        self.assertEqual((call["data"], call["protocol"], call["ihl"], call["tot_len"]), (b"payload", 58, 48, 55))

    def test_theNetworkHeaderMayBeBehindALinkHeader(self) -> None:
        packet = Packet(bytes(14) + ipPacket("10.0.0.1", "10.0.0.2", 1, b"payload", 9), start=14)
        call = self.received(1, packet)
        self.assertEqual((call["data"], call["source"], call["ttl"]), (b"payload", "10.0.0.1", 9))

    def test_methodIsLookedUpAtTheCall(self) -> None:
        ip, recorder, calls = IPProtocol(), PairRecorder(), []
        ip.addProto(1, recorder)
        recorder.datagramReceived = lambda **arguments: calls.append(arguments["data"])  # type: ignore[method-assign]
        ip.packetReceived(Packet(ipPacket("10.0.0.1", "10.0.0.2", 1, b"payload")))
        self.assertEqual((calls, recorder.calls), ([b"payload"], []))
