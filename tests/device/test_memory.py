"""
Tests for the device in memory, which has to keep the same contract as the kernel's.
"""

from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from tests.device.contract import DeviceContract, sample
from txtuntap.interfaces import IDevice
from txtuntap.testing import TAP, TUN, MemoryDevice


class MemoryContract(DeviceContract):
    """
    The contract's tests on a device in memory, which is also the network.
    """

    def makeDevice(self, name: str = "tt%d") -> IDevice:
        return MemoryDevice(self.mode, name)

    def setLink(self, device: IDevice, up: bool) -> None:
        cast(MemoryDevice, device).up = up

    def deliver(self, device: IDevice, data: bytes) -> None:
        cast(MemoryDevice, device).deliver(data)

    def sent(self, device: IDevice) -> list[bytes]:
        packets = cast(MemoryDevice, device).sent
        taken = packets[:]
        packets.clear()
        return taken

    def deleteInterface(self, device: IDevice) -> None:
        cast(MemoryDevice, device).delete()


class MemoryTUNTests(MemoryContract, SynchronousTestCase):
    mode = TUN


class MemoryTAPTests(MemoryContract, SynchronousTestCase):
    mode = TAP


class ReadableTests(SynchronousTestCase):
    """
    Tests for the callback of a device without a descriptor.
    """

    def setUp(self) -> None:
        self.device = MemoryDevice(TUN)
        self.device.open()
        self.calls = 0

    def test_tablesReportTheNumberOfWaitingPackets(self) -> None:
        for _ in range(600):
            self.device.deliver(sample(TUN))
        self.assertEqual([(state.size, state.bound) for state in self.device.tables()], [(500, 500)])
        self.device.receive()
        self.assertEqual(self.device.tables()[0].size, 499)

    def called(self) -> None:
        self.calls += 1

    def test_theCallbackIsCalledForANewPacket(self) -> None:
        self.device.readable(self.called)
        self.assertEqual(self.calls, 0)
        self.device.deliver(sample(TUN))
        self.assertEqual(self.calls, 1)

    def test_theCallbackIsCalledForAWaitingPacket(self) -> None:
        self.device.deliver(sample(TUN))
        self.device.readable(self.called)
        self.assertEqual(self.calls, 1)

    def test_theCallbackIsCalledWhenTheInterfaceIsDeleted(self) -> None:
        self.device.readable(self.called)
        self.device.delete()
        self.assertEqual(self.calls, 1)

    def test_theCallbackIsCalledIfTheInterfaceWasDeleted(self) -> None:
        self.device.delete()
        self.device.readable(self.called)
        self.assertEqual(self.calls, 1)

    def test_noneEndsTheCallbacks(self) -> None:
        self.device.readable(self.called)
        self.device.readable(None)
        self.device.deliver(sample(TUN))
        self.assertEqual(self.calls, 0)

    def test_packetsForAFullQueueAreCounted(self) -> None:
        for _ in range(502):
            self.device.deliver(sample(TUN))
        self.assertEqual(self.device.counters["outDiscards"], 2)

    def test_anotherModeIsRefused(self) -> None:
        self.assertRaises(ValueError, MemoryDevice, TUN | TAP)
