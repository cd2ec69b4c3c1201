"""
Tests for the devices of FreeBSD, OpenBSD and NetBSD over replacements for their kernels: interfaces that are made and
destroyed, offload, and errors.
"""

from __future__ import annotations

import errno
import struct
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import sample
from tests.device.unix.fakes import FakeSystem
from tests.device.unix.kernels import TAP_CAPABILITIES, FreeBSDSystem, NetBSDSystem, OpenBSDSystem
from txtuntap.device import TAP, TUN
from txtuntap.device.bsd.choice import makeDevice
from txtuntap.device.unix.device import UnixDevice
from txtuntap.testing import ethernetFrame, udpPacket
from txtuntap.wire.offload import CSUM, TSO4, TSO6, Offload


class BSDTestCase(SynchronousTestCase):
    system: FakeSystem

    def setUp(self) -> None:
        self.addCleanup(lambda: self.assertEqual(self.system.openDescriptors(), 0))

    def device(self, name: str, mode: int, descriptor: int | None = None) -> UnixDevice:
        """
        Make a device that is closed at the end of the test. No descriptor may remain then.
        """
        self.patch(sys, "platform", f"{self.system.platform}14")
        device = makeDevice(name, mode, self.system, descriptor)
        self.addCleanup(device.close)
        return device

    def opened(self, name: str, mode: int, offload: bool | None = False) -> UnixDevice:
        device = self.device(name, mode)
        device.open(offload)
        self.system.interfaces[device.name].up = True
        return device

    def refused(self, number: int, name: str, mode: int, offload: bool | None = False) -> str:
        """
        Return the text of the error with which a device cannot be opened.
        """
        before = self.system.openDescriptors()
        error = self.assertRaises(OSError, self.device(name, mode).open, offload)
        self.assertEqual((error.errno, self.system.openDescriptors()), (number, before))
        return str(error)


class FreeBSDTests(BSDTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.system: FreeBSDSystem = FreeBSDSystem()

    def test_theProcessOwnsTheInterface(self) -> None:
        self.opened("tun3", TUN)
        self.assertTrue(self.system.owner)

    def test_theKernelDestroysAnInterfaceThatWasMade(self) -> None:
        self.opened("tun%d", TUN).close()
        self.assertEqual(self.system.interfaces, {})
        self.assertNotIn("SIOCIFDESTROY", self.system.calls)

    def test_anOlderKernelIsAskedToDestroyItAfterClosing(self) -> None:
        self.system.hasTransient = False
        for mode, name in (TUN, "tun3"), (TAP, "tap%d"):
            self.opened(name, mode).close()
            self.assertEqual((self.system.interfaces, self.system.calls[-1]), ({}, "SIOCIFDESTROY"))

    def test_aRenamedInterfaceIsDestroyedByItsPresentName(self) -> None:
        self.system.hasTransient = False
        device = self.opened("tap%d", TAP)
        interface = self.system.interfaces.pop("tap0")
        interface.name = "vpn"
        self.system.interfaces["vpn"] = interface
        device.close()
        self.assertEqual(self.system.interfaces, {})

    def test_anInterfaceThatWasThereIsKept(self) -> None:
        for self.system.hasTransient in False, True:
            self.system.add("tun7", TUN)
            self.opened("tun7", TUN).close()
            self.assertEqual(list(self.system.interfaces), ["tun7"])

    def test_afterAFailureTheNewInterfaceIsDestroyed(self) -> None:
        self.system.hasTransient = False
        for call in "TUNSIFHEAD", "TUNSIFPID":
            self.system.failing = {call: errno.EIO}
            self.refused(errno.EIO, "tun%d", TUN)
            self.assertEqual(self.system.interfaces, {})

    def test_anInterfaceThatCannotBeDestroyedIsLogged(self) -> None:
        self.system.hasTransient = False
        device = self.opened("tun%d", TUN)
        self.system.failing = {"SIOCIFDESTROY": errno.EPERM}
        device.close()
        self.assertEqual(list(self.system.interfaces), ["tun0"])

    def test_aDeviceInUseIsBusy(self) -> None:
        self.opened("tun0", TUN)
        self.assertIn("/dev/tun0: another program", self.refused(errno.EBUSY, "tun0", TUN))

    def test_aMissingNodeNamesTheDriver(self) -> None:
        self.system.failing = {"open": errno.ENOENT}
        self.assertIn("kldload if_tuntap", self.refused(errno.ENOENT, "tun%d", TUN))

    def test_aKernelThatDoesNotTellTheNameIsTooOld(self) -> None:
        self.system.failing = {"TUNGIFNAME": errno.ENOTTY}
        text = self.refused(errno.ENOTTY, "tun%d", TUN)
        self.assertIn("the name of /dev/tun: ", text)
        self.assertIn("FreeBSD 12.1 or later", text)

    def test_eachErrorSaysWhatToDo(self) -> None:
        for call, number, words in (
            ("open", errno.EACCES, "/dev/tun7: this user may not open it: run as root, or allow"),
            ("TUNSIFHEAD", errno.EPERM, "the header of tun7: this user may not do that: run as root"),
            ("sysctl", errno.EPERM, "/dev/tun7: this user may not do that: run as root"),
        ):
            self.system.failing = {call: number}
            self.assertIn(words, self.refused(number, "tun7", TUN))

    def test_aTunHasNoOffload(self) -> None:
        self.assertIn("no offload on FreeBSD", self.refused(errno.ENOTSUP, "tun%d", TUN, True))

    def test_anAdoptedDescriptorsNameIsTheKernels(self) -> None:
        for mode, path in (TUN, "/dev/tun5"), (TAP, "/dev/tap5"):
            descriptor = self.system.open(path, 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
            device = self.device("", mode, descriptor)
            device.open()
            self.assertEqual(device.name, path[5:])
            device.close()
            self.assertIn(path[5:], self.system.interfaces)

    def test_aDescriptorThatCannotBeAdoptedIsClosed(self) -> None:
        for call, words in ("TUNSIFPID", "descriptor "), ("sysctl", "tun5: "):
            descriptor = self.system.open("/dev/tun5", 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
            device = self.device("", TUN, descriptor)
            self.system.failing = {call: errno.EPERM}
            error = self.assertRaises(OSError, device.open)
            self.assertEqual((self.system.openDescriptors(), device.fileno()), (0, -1))
            self.assertIn(f"{words}{descriptor if call == 'TUNSIFPID' else ''}", str(error))
            self.system.failing = {}
            self.assertEqual(self.assertRaises(OSError, device.open).errno, errno.EBADF)

    def test_aDescriptorThatIsNotUsedIsClosed(self) -> None:
        descriptor = self.system.open("/dev/tun5", 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
        self.device("", TUN, descriptor).close()
        self.assertEqual(self.system.openDescriptors(), 0)

    def test_aDescriptorOfADeviceThatCannotBeMadeStaysOpen(self) -> None:
        descriptor = self.system.open("/dev/tun5", 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
        self.assertRaises(ValueError, self.device, "vpn5", TUN, descriptor)
        self.assertEqual(self.system.openDescriptors(), 1)
        self.system.close(descriptor)


class FreeBSDOffloadTests(BSDTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.system: FreeBSDSystem = FreeBSDSystem()

    def superpacket(self) -> tuple[bytes, bytes]:
        """
        Make a packet with an open checksum, and its offload header.
        """
        frame = ethernetFrame(b"\2" * 6, b"\4" * 6, 0x0800, udpPacket("10.0.0.1", "10.0.0.2", 1, 2, b"hello"))
        return frame, struct.pack("=BBHHHH", 1, 0, 0, 0, 34, 6)

    def test_requiredOffloadIsThatOfTheInterface(self) -> None:
        device = self.opened("tap%d", TAP, True)
        interface = self.system.interfaces["tap0"]
        self.assertEqual(device.offloads, CSUM | TSO4 | TSO6)
        self.assertEqual(interface.capabilities, sum(self.system.numbers[name] for name in TAP_CAPABILITIES))
        self.assertEqual(interface.offloadLength, 10)

    def test_unfinishedPacketsAreReceivedAndSentWithTheirHeader(self) -> None:
        device = self.opened("tap%d", TAP, True)
        frame, header = self.superpacket()
        self.system.deliver("tap0", frame, header)
        packet = device.receive()
        assert packet is not None
        self.assertEqual((bytes(packet), packet.offload), (frame, Offload(1, 0, 0, 0, 44, 6)))
        device.send([frame[:20], frame[20:]], Offload(1, 0, 0, 0, 34, 6))
        self.assertEqual(self.system.interfaces["tap0"].received, [header + frame])

    def test_offloadThatIsNotRequiredIsOnlyReceived(self) -> None:
        device = self.opened("tap%d", TAP, None)
        self.assertEqual(device.offloads, 0)
        self.assertNotEqual(self.system.interfaces["tap0"].capabilities, 0)
        frame, header = self.superpacket()
        self.system.deliver("tap0", frame, header)
        packet = device.receive()
        assert packet is not None and packet.offload is not None
        device.send([frame])
        self.assertEqual(self.system.interfaces["tap0"].received, [bytes(10) + frame])

    def test_theKernelFinishesPacketsOnRequest(self) -> None:
        """
        A device that sends only finished packets may receive others, so the request counts there, too.
        """
        for offload, offloads in (True, CSUM | TSO4 | TSO6), (None, 0):
            device = self.opened("tap%d", TAP, offload)
            device.receiveFinished()
            left = sum(self.system.numbers[name] for name in ("IFCAP_RXCSUM", "IFCAP_RXCSUM_IPV6"))
            self.assertEqual(self.system.interfaces[device.name].capabilities, left)
            self.assertEqual(device.offloads, offloads)

    def test_anAdoptedDescriptorHasOffload(self) -> None:
        descriptor = self.system.open("/dev/tap5", 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
        device = self.device("tap5", TAP, descriptor)
        device.open(True)
        self.assertEqual((device.offloads, self.system.interfaces["tap5"].offloadLength), (CSUM | TSO4 | TSO6, 10))
        device.receiveFinished()
        left = sum(self.system.numbers[name] for name in ("IFCAP_RXCSUM", "IFCAP_RXCSUM_IPV6"))
        self.assertEqual(self.system.interfaces["tap5"].capabilities, left)

    def test_aProcessWithoutPrivilegeHasNoOffload(self) -> None:
        self.system.failing = {"SIOCSIFCAP": errno.EPERM}
        device = self.opened("tap%d", TAP, None)
        device.send([sample(TAP)])
        self.assertEqual(self.system.interfaces["tap0"].received, [bytes(10) + sample(TAP)])
        # The packets are finished already.
        device.receiveFinished()
        device.close()
        self.refused(errno.ENOTSUP, "tap%d", TAP, True)

    def test_withoutOffloadThereIsNoHeader(self) -> None:
        self.opened("tap%d", TAP, False)
        self.assertEqual(self.system.interfaces["tap0"].offloadLength, 0)

    def test_aKernelWithoutTheHeaderHasNoOffload(self) -> None:
        self.system.failing = {"TAPSVNETHDR": errno.ENOTTY}
        device = self.opened("tap%d", TAP, None)
        self.assertEqual(device.offloads, 0)
        device.close()
        self.assertIn("FreeBSD", self.refused(errno.ENOTSUP, "tap%d", TAP, True))

    def test_aPacketShorterThanTheHeaderIsCounted(self) -> None:
        device = self.opened("tap%d", TAP, True)
        self.system.deliver("tap0", b"", b"\0" * 9)
        self.assertIsNone(device.receive())
        self.assertEqual(device.counters, {"inTruncated": 1})


class OpenBSDTests(BSDTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.system: OpenBSDSystem = OpenBSDSystem()

    def test_numbersAreTriedUpward(self) -> None:
        for mode, kind in (TUN, "tun"), (TAP, "tap"):
            names = [self.opened(f"{kind}%d", mode).name for _ in range(4)]
            self.assertEqual(names, [f"{kind}{number}" for number in range(4)])
            self.assertIn(f"each node of {kind} before /dev/{kind}4", self.refused(errno.EBUSY, f"{kind}%d", mode))

    def test_aMissingNodeSaysHowToMakeIt(self) -> None:
        self.assertIn("MAKEDEV", self.refused(errno.ENOENT, "tun9", TUN))
        self.system.nodes = 0
        self.assertIn("MAKEDEV", self.refused(errno.ENOENT, "tun%d", TUN))

    def test_closingRemovesAnInterfaceThatOpeningMade(self) -> None:
        self.opened("tun%d", TUN).close()
        self.assertEqual(self.system.interfaces, {})

    def test_anAdoptedDescriptorHasTheGivenName(self) -> None:
        descriptor = self.system.open("/dev/tun2", 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
        device = self.device("tun2", TUN, descriptor)
        device.open()
        self.assertEqual((device.name, device.mtu), ("tun2", 3000))

    def test_aPacketThatIsTooLongIsRefused(self) -> None:
        device = self.opened("tun%d", TUN)
        error = self.assertRaises(OSError, device.send, [sample(TUN).ljust(16385, b"\0")])
        self.assertEqual(error.errno, errno.EMSGSIZE)


class NetBSDTests(BSDTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.system: NetBSDSystem = NetBSDSystem()

    def test_anInterfaceThatIsNotThereIsMadeAndDestroyed(self) -> None:
        for name, mode in ("tun%d", TUN), ("tun6", TUN), ("tap6", TAP):
            device = self.opened(name, mode)
            # Opening the node of a tun creates the interface.
            self.assertEqual("SIOCIFCREATE" in self.system.calls, mode == TAP)
            device.close()
            self.assertEqual(self.system.interfaces, {})

    def test_anInterfaceThatWasThereIsKept(self) -> None:
        self.system.add("tun0", TUN)
        self.opened("tun%d", TUN).close()
        self.assertEqual(list(self.system.interfaces), ["tun0"])

    def test_aBusyNumberIsSkipped(self) -> None:
        self.assertEqual([self.opened("tun%d", TUN).name for _ in range(3)], ["tun0", "tun1", "tun2"])

    def test_aTapIsClonedWithoutBeingMade(self) -> None:
        self.assertEqual([self.opened("tap%d", TAP).name for _ in range(2)], ["tap0", "tap1"])
        self.assertNotIn("SIOCIFCREATE", self.system.calls)

    def test_afterAFailureTheNewInterfaceIsDestroyed(self) -> None:
        for call in "TUNSIFHEAD", "sysctl":
            self.system.failing = {call: errno.EPERM}
            self.refused(errno.EPERM, "tun%d", TUN)
            self.assertEqual(self.system.interfaces, {})
        self.system.failing = {"TAPGIFNAME": errno.EPERM}
        self.refused(errno.EPERM, "tap%d", TAP)

    def test_anInterfaceThatCannotBeMadeSaysWhatToDo(self) -> None:
        self.system.failing = {"SIOCIFCREATE": errno.EPERM}
        self.assertIn("tap6: this user", self.refused(errno.EPERM, "tap6", TAP))

    def test_thereIsNoOffload(self) -> None:
        self.assertIn("no offload on NetBSD", self.refused(errno.ENOTSUP, "tap%d", TAP, True))

    def test_anAdoptedTapsNameIsTheKernels(self) -> None:
        descriptor = self.system.open("/dev/tap", 2 | self.system.O_NONBLOCK | self.system.O_CLOEXEC)
        device = self.device("", TAP, descriptor)
        device.open()
        self.assertEqual(device.name, "tap0")


class ChoiceTests(SynchronousTestCase):
    def test_anotherPlatformIsNamed(self) -> None:
        self.patch(sys, "platform", "plan9")
        error = self.assertRaises(OSError, makeDevice, "tun0", TUN)
        self.assertEqual(error.errno, errno.ENOTSUP)
        self.assertIn("plan9 is none of freebsd, openbsd, netbsd", str(error))

    def test_namesAreThoseOfTheDrivers(self) -> None:
        for platform, title in ("freebsd14", "FreeBSD"), ("openbsd7", "OpenBSD"), ("netbsd10", "NetBSD"):
            self.patch(sys, "platform", platform)
            for name, mode in ("vpn0", TUN), ("tun0", TAP), ("tap0", TUN), ("tap", TAP):
                error = self.assertRaises(ValueError, makeDevice, name, mode)
                self.assertIn(f"on {title}", str(error))
