"""
Tests that ioctl numbers are equal to those in the kernel headers of each architecture.
"""

from __future__ import annotations

import platform

from twisted.trial.unittest import SynchronousTestCase

from tests.flags import FLAGS
from txtuntap.device.linux import ioctl

#: The numbers of C{_IOW('T', 202, int)} and C{_IOR('T', 210, int)} on most architectures.
GENERIC = (0x400454CA, 0x800454D2)

#: The same numbers on architectures that encode the direction in another form.
OWN = (0x800454CA, 0x400454D2)

MACHINES = {
    "x86_64": GENERIC,
    "i686": GENERIC,
    "aarch64": GENERIC,
    "armv7l": GENERIC,
    "riscv64": GENERIC,
    "s390x": GENERIC,
    "loongarch64": GENERIC,
    # arch/*/include/uapi/asm/ioctl.h: the direction has three bits (none 1, read 2, write 4), and the size has 13.
    "mips": OWN,
    "mips64": OWN,
    "ppc": OWN,
    "ppc64le": OWN,
    "sparc64": OWN,
    "alpha": OWN,
    # The direction has two bits, with read 1 and write 2.
    "parisc": OWN,
    "parisc64": OWN,
}


class NumberTests(SynchronousTestCase):
    def test_numbersOfEachArchitecture(self) -> None:
        for machine, expected in MACHINES.items():
            numbers = (ioctl.number("write", "T", 202, 4, machine), ioctl.number("read", "T", 210, 4, machine))
            self.assertEqual([f"{number:#x}" for number in numbers], [f"{number:#x}" for number in expected], machine)

    def test_numbersOfTheCalls(self) -> None:
        table = {
            ("write", 203): 0x400454CB,
            ("write", 204): 0x400454CC,
            ("write", 206): 0x400454CE,
            ("read", 207): 0x800454CF,
            ("write", 208): 0x400454D0,
            ("write", 212): 0x400454D4,
            ("read", 215): 0x800454D7,
            ("write", 216): 0x400454D8,
            ("write", 217): 0x400454D9,
            ("write", 226): 0x400454E2,
        }
        found = {(direction, index): ioctl.number(direction, "T", index, 4, "x86_64") for direction, index in table}
        self.assertEqual(found, table)

    def test_numbersContainTheSize(self) -> None:
        self.assertEqual(ioctl.number("write", "f", 2, 8, "x86_64"), 0x40086602)
        self.assertEqual(ioctl.number("write", "f", 2, 8, "mips"), 0x80086602)

    def test_numbersOfCallsWithoutAnArgument(self) -> None:
        for machine, expected in ("x86_64", 0x54E3), ("mips", 0x200054E3), ("ppc64le", 0x200054E3), ("parisc", 0x54E3):
            self.assertEqual(ioctl.number("none", "T", 227, 0, machine), expected)

    def test_numbersOnThisMachine(self) -> None:
        setIff, getIff = MACHINES.get(platform.machine(), GENERIC)
        self.assertEqual((ioctl.TUNSETIFF, ioctl.TUNGETIFF), (setIff, getIff))
        self.assertEqual(ioctl.TUNSETOFFLOAD, setIff + 6)


class FlagTests(SynchronousTestCase):
    def test_flagsHaveTheKernelsValues(self) -> None:
        table = {**FLAGS, "TUN_PKT_STRIP": 0x0001}
        self.assertEqual({name: getattr(ioctl, name) for name in table}, table)
