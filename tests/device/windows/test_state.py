"""
Tests for the states of interfaces on Windows, over fakes of its DLL.
"""

from __future__ import annotations

import errno
from random import Random

from twisted.internet.task import Clock

from tests.device.windows.constants import FIELDS, NUMBERS, SIZES
from tests.device.windows.iphlpapifake import INET6
from tests.device.windows.overfakes import OverFakeWindows, overEachFake
from txtuntap.device.configure import configureInterface
from txtuntap.device.settings import InterfaceAddress
from txtuntap.device.state import flagNames, read, readInterface, readInterfaces
from txtuntap.device.windows.network import Network

#: The functions that hand over a table, and the structure of a row.
TABLES = {
    "GetIfTable2": "MIB_IF_ROW2",
    "GetIpInterfaceTable": "MIB_IPINTERFACE_ROW",
    "GetUnicastIpAddressTable": "MIB_UNICASTIPADDRESS_ROW",
    "GetIpForwardTable2": "MIB_IPFORWARD_ROW2",
}

_START = 8


@overEachFake(globals())
class StateTests(OverFakeWindows):
    """
    Tests for C{readInterface} and its variants.
    """

    def poke(self, function: str, field: str, octets: bytes, row: int = 0) -> None:
        """
        Change a field in each table that a function hands over.
        """
        structure = TABLES[function]
        self.fake.poke(function, _START + row * SIZES[structure] + FIELDS[structure][field][0], octets)

    def test_theStateOfATap(self) -> None:
        index = self.fake.add("Ethernet 2", "tap", mtu=1300)
        configureInterface("Ethernet 2", ["10.0.0.1/20", "fd00::1/52", "fe80::1/64"])
        state = readInterface("Ethernet 2")
        self.assertEqual(("Ethernet 2", index, "tap", 0x41), (state.name, state.index, state.kind, state.flags))
        link = bytes((2, 0, 0, 0, 0, index))
        self.assertEqual((True, True, 1300, link), (state.up, state.carrier, state.mtu, state.linkAddress))
        self.assertEqual(tuple(map(InterfaceAddress, ("10.0.0.1/20", "fd00::1/52", "fe80::1/64"))), state.addresses)
        # The fake's numbers ascend in the order of the fields.
        first = 1000 + index
        expected = {
            "rx_bytes": first,
            "rx_packets": 2 * first + 3,
            "rx_dropped": first + 3,
            "rx_errors": first + 4,
            "tx_bytes": first + 9,
            "tx_packets": 2 * first + 21,
            "tx_dropped": first + 12,
            "tx_errors": first + 13,
        }
        self.assertEqual(expected, state.statistics)

    def test_theStateOfATun(self) -> None:
        index = self.fake.add("Zürich 日本 \U0001f409", "tun", mtu=65535)
        configureInterface("zÜrich 日本 \U0001f409", ["10.0.0.1/24", "0.0.0.5/0"])
        state = readInterface("Zürich 日本 \U0001f409")
        self.assertEqual((index, "tun", None, 65535), (state.index, state.kind, state.linkAddress, state.mtu))
        self.assertEqual(["10.0.0.1/24", "0.0.0.5/0"], [str(each) for each in state.addresses])

    def test_theStateOfOtherInterfaces(self) -> None:
        self.fake.add("Ethernet", "ethernet")
        loopback, ethernet = readInterfaces()
        self.assertEqual(("", 0x49, None, 65535), (loopback.kind, loopback.flags, loopback.linkAddress, loopback.mtu))
        self.assertEqual(["LOOPBACK", "UP", "RUNNING"], flagNames(loopback.flags))
        self.assertEqual(("", 6), (ethernet.kind, len(ethernet.linkAddress or b"")))

    def test_aLinkThatIPDoesNotUseIsNoInterface(self) -> None:
        self.fake.add("Ethernet-QoS Packet Scheduler-0000", "ethernet", ())
        self.fake.add("six", "tun", (INET6,), 1400)
        states = {each.name: each.mtu for each in readInterfaces()}
        self.assertEqual({"Loopback Pseudo-Interface 1": 65535, "six": 1400}, states)

    def test_theLinkMayBeDown(self) -> None:
        index = self.fake.add("Ethernet 2", "tap")
        for isUp, isConnected, flags in (True, False, 0x1), (False, True, 0), (True, True, 0x41):
            self.fake.setLink(index, isUp, isConnected)
            state = readInterface("Ethernet 2")
            self.assertEqual((isUp, isUp and isConnected, flags), (state.up, state.carrier, state.flags))

    def test_readingOnAReactor(self) -> None:
        clock, index = Clock(), self.fake.add("Ethernet 2", "tap")
        state = read("Ethernet 2", clock)
        clock.advance(0)
        self.assertEqual(index, self.successResultOf(state).index)

    def test_anUnknownInterfaceIsReported(self) -> None:
        self.assertEqual(errno.ENODEV, self.assertRaises(OSError, readInterface, "Ethernet 9").errno)

    def test_aRefusalIsReported(self) -> None:
        self.fake.fail("GetIfTable2", NUMBERS["ERROR_NOT_ENOUGH_MEMORY"])
        error = self.assertRaises(OSError, readInterfaces)
        self.assertEqual((errno.ENOMEM, True), (error.errno, "cannot read the interfaces" in str(error)))

    def test_aMissingTableIsReported(self) -> None:
        for function in TABLES:
            self.fake.withhold(function)
            error = self.assertRaises(OSError, Network().routes if "Forward" in function else readInterfaces)
            self.assertEqual(errno.EIO, error.errno)
            self.assertIn("gave no table", str(error))

    def test_aTableWithTooManyRowsIsReported(self) -> None:
        for function in TABLES:
            self.fake.poke(function, 0, (65536).to_bytes(4, "little"))
        for call in readInterfaces, Network().names, Network().routes:
            error = self.assertRaises(OSError, call)
            self.assertEqual(errno.EIO, error.errno)
            self.assertIn("a table of 65536 rows: 65535 is the most", str(error))

    def test_aMalformedAddressIsCounted(self) -> None:
        index = self.fake.add("Ethernet 2", "tap")
        configureInterface("Ethernet 2", ["10.0.0.1/24", "fd00::1/64", "10.3.0.1/24", "fd03::1/64"])
        self.poke("GetUnicastIpAddressTable", "Address", b"\x63\x00", 0)
        self.poke("GetUnicastIpAddressTable", "OnLinkPrefixLength", b"\x81", 1)
        self.poke("GetUnicastIpAddressTable", "OnLinkPrefixLength", b"\x21", 2)
        network = Network()
        state = next(each for each in network.states() if each.index == index)
        self.assertEqual((3, ["fd03::1/64"]), (network.malformed, [str(each) for each in state.addresses]))

    def test_aMalformedRouteIsCounted(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        configureInterface("Ethernet 2", routes=["10.1.0.0/16", "fd00::/64", "10.2.0.0/16", "10.3.0.0/16 via 10.1.0.1"])
        prefix = FIELDS["MIB_IPFORWARD_ROW2"]["DestinationPrefix"][0] + FIELDS["IP_ADDRESS_PREFIX"]["PrefixLength"][0]
        self.fake.poke("GetIpForwardTable2", _START + prefix, b"\x21")
        self.poke("GetIpForwardTable2", "DestinationPrefix", b"\x00\x00", 1)
        self.poke("GetIpForwardTable2", "NextHop", b"\x11\x00", 2)
        network = Network()
        (route,) = network.routes()
        self.assertEqual((3, "10.3.0.0/16", "10.1.0.1"), (network.malformed, str(route.network), str(route.gateway)))

    def test_aMalformedLinkIsCounted(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        self.poke("GetIfTable2", "PhysicalAddressLength", b"\x21", 0)
        network = Network()
        self.assertEqual((["Ethernet 2"], 1), ([each.name for each in network.states()], network.malformed))

    def test_aMalformedUseOfAnInterfaceIsCounted(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        self.poke("GetIpInterfaceTable", "Family", b"\x63\x00", 0)
        self.poke("GetIpInterfaceTable", "NlMtu", bytes(4), 1)
        network = Network()
        self.assertEqual((["Ethernet 2"], 2), ([each.name for each in network.states()], network.malformed))

    def test_aNameThatIsNoTextIsRead(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        # A name without an end, of halves of surrogate pairs.
        self.poke("GetIfTable2", "Alias", b"\x00\xd8" * 16, 1)
        self.assertEqual("\ufffd" * 16, readInterfaces()[1].name)

    def test_noTableRaisesAnotherError(self) -> None:
        self.fake.add("Ethernet 2", "tap")
        configureInterface("Ethernet 2", ["10.0.0.1/24", "fd00::1/64"], routes=["10.1.0.0/16"])
        random, network = Random(3), Network()
        for _ in range(40):
            for function, structure in TABLES.items():
                self.fake.poke(function, _START + random.randrange(2 * SIZES[structure]), random.randbytes(1))
            network.states()
            network.routes()
            network.names()
        self.assertGreater(network.malformed, 0)
