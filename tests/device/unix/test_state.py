"""
Tests for the states of interfaces on macOS and the BSDs, over fakes of their kernels.
"""

from __future__ import annotations

import errno
import struct
from random import Random

from twisted.internet.task import Clock

from tests.device.unix.platforms import OverFakeKernel, onEachPlatform
from txtuntap.device.configure import configureInterface
from txtuntap.device.settings import InterfaceAddress
from txtuntap.device.state import read, readInterface, readInterfaces
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.layout import layoutHere
from txtuntap.device.unix.messages import addressesIn, answerIn, packRoute, prefixLengthIn, routesIn, split, statesIn


@onEachPlatform(globals())
class StateTests(OverFakeKernel):
    """
    Tests for C{readInterface} and its variants.
    """

    def test_theStateOfATap(self) -> None:
        tap = self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/20", "fd00::1/52", "fe80::1/64"])
        state = readInterface(tap.name)
        self.assertEqual((tap.name, tap.index, "tap", tap.flags), (state.name, state.index, state.kind, state.flags))
        self.assertEqual((True, True, 1500, tap.hardware), (state.up, state.carrier, state.mtu, state.linkAddress))
        four = InterfaceAddress("10.0.0.1/20", None, "10.0.15.255")
        expected = (four, InterfaceAddress("fd00::1/52"), InterfaceAddress("fe80::1/64"))
        self.assertEqual(expected, state.addresses)
        names = "rx_packets", "rx_errors", "tx_packets", "tx_errors", "rx_bytes", "tx_bytes"
        self.assertEqual(dict(zip(names, range(1001, 1007), strict=True)), state.statistics)

    def test_theStateOfATun(self) -> None:
        tun = self.fake.addTun()
        configureInterface(tun.name, ["10.0.0.1/24", "10.2.0.1 peer 10.3.0.1/32", "0.0.0.5/0"], up=None)
        state = readInterface(tun.name)
        self.assertEqual(("tun", None, False), (state.kind, state.linkAddress, state.up))
        self.assertEqual(
            ["10.0.0.1/24", "10.2.0.1 peer 10.3.0.1/32", "0.0.0.5/0"], [str(each) for each in state.addresses]
        )

    def test_allInterfacesAreListed(self) -> None:
        names = ["lo0", self.fake.addTun().name, self.fake.addTap().name]
        self.assertEqual(names, [each.name for each in readInterfaces()])

    def test_readingOnAReactor(self) -> None:
        clock, tun = Clock(), self.fake.addTun()
        state = read(tun.name, clock)
        clock.advance(0)
        self.assertEqual(tun.index, self.successResultOf(state).index)

    def test_anUnknownInterfaceIsReported(self) -> None:
        self.assertEqual(errno.ENODEV, self.assertRaises(OSError, readInterface, "tun9").errno)
        self.assertRaises(ValueError, readInterface, "a/b")

    def test_aRefusalIsReported(self) -> None:
        self.fake.failures["sysctl"] = errno.ENOMEM
        error = self.assertRaises(OSError, readInterfaces)
        self.assertEqual((errno.ENOMEM, True), (error.errno, "cannot read the interfaces" in str(error)))

    def everything(self) -> bytes:
        """
        The kernel's messages about two interfaces with addresses.
        """
        for link in self.fake.addTun(), self.fake.addTap():
            configureInterface(link.name, ["10.0.0.1/24", "fd00::1/64"], up=None)
        numbers = self.fake.numbers
        return self.fake.sysctl((numbers["CTL_NET"], numbers["PF_ROUTE"], 0, 0, numbers["NET_RT_IFLIST"], 0))

    def test_aShortListIsReported(self) -> None:
        whole = self.everything()
        ends = {0}
        for message in split(whole):
            ends.add(max(ends) + len(message))
        for length in range(len(whole)):
            self.fake.corrupt = whole[:length]
            if length in ends:
                readInterfaces()
            else:
                self.assertEqual(errno.EIO, self.assertRaises(OSError, readInterfaces).errno, str(length))

    def test_noListRaisesAnotherError(self) -> None:
        whole, random = self.everything(), Random(3)
        for _ in range(2000):
            data = bytearray(whole)
            for _ in range(random.randrange(1, 4)):
                data[random.randrange(len(data))] = random.choice((0, 1, 4, 17, 127, 255, random.randrange(256)))
            self.fake.corrupt = bytes(data)
            try:
                readInterfaces()
            except OSError as e:
                self.assertEqual(errno.EIO, e.errno)

    def test_messagesOfAnotherVersionAreIgnored(self) -> None:
        whole = bytearray(self.everything())
        whole[2] += 1
        self.fake.corrupt = bytes(whole)
        self.assertNotIn("lo0", [each.name for each in readInterfaces()])

    def test_addressesOfOtherFamiliesAreIgnored(self) -> None:
        layout = layoutHere()
        tap = self.fake.addTap()
        configureInterface(tap.name, ["10.0.0.1/24"])
        data = self.fake.sysctl((4, layout.routeFamily, 0, 0, layout.interfaceList, 0))
        changed = data.replace(bytes((16, 2, 0, 0, 10)), bytes((16, 99, 0, 0, 10)))
        self.assertNotEqual(data, changed)
        self.assertEqual((), statesIn(changed, layout)[-1].addresses)

    def test_aNetmaskWithGapsIsNone(self) -> None:
        self.assertEqual(None, prefixLengthIn(bytes((8, 0, 0, 0, 255, 0, 255, 0)), 4))
        self.assertEqual(0, prefixLengthIn(b"", 4))
        self.assertEqual(23, prefixLengthIn(bytes((7, 255, 0, 0, 255, 255, 254)), 4))

    def test_answersToOtherRequestsAreIgnored(self) -> None:
        layout = layoutHere()
        message = packRoute(layout, 4, 0, {}, 7, 8)
        self.assertIsNotNone(answerIn(message, layout, 4, 7, 8))
        for data, kind, pid, sequence in (
            (message, 4, 7, 9),
            (message, 4, 8, 8),
            (message, 1, 7, 8),
            (message[:20], 4, 7, 8),
            (b"", 4, 7, 8),
        ):
            self.assertIsNone(answerIn(data, layout, kind, pid, sequence))
        self.assertRaises(OSError, answerIn, message[: layout.route.size - 1], layout, 4, 7, 8)

    def test_aLongerHeaderIsSkippedOnOpenBSD(self) -> None:
        layout = layoutHere()
        if layout.hasHeaderLength:
            message = bytearray(self.fake._stateMessage(self.fake.addTap()))
            size = layout.interfaceHeader.size
            longer = message[:size] + bytes(8) + message[size:]
            struct.pack_into("=H", longer, 4, size + 8)
            self.assertEqual(
                addressesIn(bytes(message), layout.interfaceHeader, layout),
                addressesIn(bytes(longer), layout.interfaceHeader, layout),
            )

    def test_aShortListOfRoutesIsReported(self) -> None:
        configureInterface(self.fake.addTun().name, ["10.0.0.1/24"], routes=["10.1.0.0/16 via 10.0.0.2"])
        layout = layoutHere()
        whole = self.fake.sysctl((4, layout.routeFamily, 0, 0, 1, 0))
        self.assertEqual(3, len(routesIn(whole, layout)))
        ends = {0}
        for message in split(whole):
            ends.add(max(ends) + len(message))
        for length in set(range(len(whole))) - ends:
            self.assertRaises(OSError, routesIn, whole[:length], layout)

    def test_theStatesAreTheKernels(self) -> None:
        self.assertEqual(readInterfaces(), Kernel().states())
