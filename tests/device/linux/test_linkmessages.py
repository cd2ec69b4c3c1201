"""
Tests for the parser in L{txtuntap.device.linux.linkmessages}.
"""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.linux.linkmessages import decode, split

NEWLINK, DELADDR, NEWROUTE = 16, 21, 24


def attribute(kind: int, value: bytes) -> bytes:
    """
    Pack one attribute, padded to four octets.
    """
    packed = struct.pack("=HH", 4 + len(value), kind) + value
    return packed + bytes(-len(packed) % 4)


def message(kind: int, body: bytes) -> bytes:
    """
    Pack a netlink message with sequence number 7.
    """
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 7, 0) + body


def link(*attributes: bytes) -> bytes:
    """
    Pack a link message about interface 3, which is up.
    """
    return message(NEWLINK, struct.pack("=BxHiII", 0, 1, 3, 0x1003, 0) + b"".join(attributes))


def attributesOf(decoded: Any) -> dict[str, Any]:
    """
    The attributes of a message, by name.
    """
    return dict(decoded["attrs"])


class DecodeTests(SynchronousTestCase):
    """
    Tests for the functions L{decode} and L{split}.
    """

    def test_aLink(self) -> None:
        information = attribute(1, b"tun\0") + attribute(2 | 0x8000, attribute(3, b"\x01") + attribute(99, b"new"))
        decoded = decode(
            NEWLINK, link(attribute(3, b"tun0\0"), attribute(4, struct.pack("=I", 9000)), attribute(18, information))
        )
        assert decoded is not None
        self.assertEqual(("RTM_NEWLINK", 3, 0x1003), (decoded["event"], decoded["index"], decoded["flags"]))
        found = attributesOf(decoded)
        self.assertEqual(("tun0", 9000), (found["IFLA_IFNAME"], found["IFLA_MTU"]))
        tun = {"attrs": [("IFLA_TUN_TYPE", 1)]}
        self.assertEqual([("IFLA_INFO_KIND", "tun"), ("IFLA_INFO_DATA", tun)], found["IFLA_LINKINFO"]["attrs"])

    def test_anAddress(self) -> None:
        body = struct.pack("=BBBBI", 2, 24, 0x80, 0, 3) + attribute(1, bytes([10, 0, 0, 2])) + attribute(3, b"tun0\0")
        decoded = decode(DELADDR, message(DELADDR, body + attribute(2, bytes([10, 0, 0, 1]))))
        assert decoded is not None
        self.assertEqual((24, 3), (decoded["prefixlen"], decoded["index"]))
        self.assertEqual({"IFA_ADDRESS": "10.0.0.2", "IFA_LOCAL": "10.0.0.1"}, attributesOf(decoded))

    def test_aNameNeedNotBeText(self) -> None:
        decoded = decode(NEWLINK, link(attribute(3, b"tt\xff\x1b\0")))
        assert decoded is not None
        self.assertEqual("tt\udcff\x1b", attributesOf(decoded)["IFLA_IFNAME"])

    def test_otherMessagesAreNotDecoded(self) -> None:
        self.assertIsNone(decode(NEWROUTE, message(NEWROUTE, bytes(12))))

    def test_severalInOneRead(self) -> None:
        messages = [link(attribute(3, name)) for name in (b"a\0", b"bcd\0")]
        self.assertEqual([(NEWLINK, each) for each in messages], list(split(b"".join(messages))))

    def test_messagesThatAreCutShortRaise(self) -> None:
        whole = link(attribute(3, b"tun0\0"), attribute(4, struct.pack("=I", 1500)))
        for length in range(17, len(whole)):
            self.assertRaises(ValueError, list, split(whole[:length]))
        self.assertRaises(ValueError, decode, NEWLINK, message(NEWLINK, bytes(8)))
        self.assertRaises(ValueError, decode, NEWLINK, link(attribute(3, b"tun0\0")[:-4]))
        self.assertRaises(ValueError, decode, NEWLINK, link(attribute(23, b"too few")))

    @given(st.sampled_from([16, 17, 20, 21]), st.binary(max_size=100))
    def test_malformedMessagesRaiseValueError(self, kind: int, body: bytes) -> None:
        try:
            decoded = decode(kind, message(kind, body))
        except ValueError:
            return
        assert decoded is not None
        self.assertEqual(7, decoded["header"]["sequence_number"])
