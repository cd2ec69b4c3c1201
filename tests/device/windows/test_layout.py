"""
Tests that the structures and constants of L{txtuntap.device.windows.iphlpapi} are those of Windows' headers.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.device.windows.constants import FIELDS, NUMBERS, SIZES
from txtuntap.device.windows import iphlpapi, library
from txtuntap.device.windows.network import Network

#: The structures of the package, by name.
STRUCTURES = {name: each for name, each in vars(iphlpapi).items() if isinstance(each, type(ctypes.Structure))}


_MEMORY = "only Windows tells which memory can be read: use 'make test-windows'"

#: The position and the size of a part of the address space, after which there is no memory. The numbers of
#: C{VirtualAlloc} and C{VirtualFree}.
_PLACE, _PART = 1 << 40, 65536
_MEM_COMMIT, _MEM_RESERVE, _MEM_RELEASE, _PAGE_READWRITE = 0x1000, 0x2000, 0x8000, 4


class ShortTable:
    """
    A library that hands over a table, whose number of rows is too large for its memory.

    @ivar hasRows: whether there is memory at the address of the table.
    @ivar freed: the tables that were freed.
    """

    def __init__(self, address: int, hasRows: bool = True) -> None:
        self.address, self.hasRows = address, hasRows
        self.freed: list[int] = []

    def GetIfTable2(self, table: Any) -> int:
        if self.hasRows:
            ctypes.c_uint32.from_address(self.address).value = 100
        table._obj.value = self.address
        return 0

    def FreeMibTable(self, table: Any) -> None:
        self.freed.append(table.value)


class LayoutTests(SynchronousTestCase):
    """
    Tests for the numbers, which a compiler has compared with Windows' headers.
    """

    def test_eachStructureHasTheSizeThatWindowsGivesIt(self) -> None:
        sizes = {name: ctypes.sizeof(each) for name, each in STRUCTURES.items()}
        others = {name: size for name, size in SIZES.items() if "TABLE" not in name and "ADAPTER" not in name}
        self.assertEqual(others, sizes)

    def test_eachFieldHasItsPositionAndSize(self) -> None:
        for name, each in STRUCTURES.items():
            fields = {field: getattr(each, field) for field, *_ in each._fields_}
            found = {field: (descriptor.offset, descriptor.size) for field, descriptor in fields.items()}
            self.assertEqual(FIELDS[name], found, name)

    def test_theFirstRowOfEachTableHasOnePosition(self) -> None:
        tables = [fields for name, fields in FIELDS.items() if "TABLE" in name]
        self.assertEqual(4, len(tables))
        for fields in tables:
            self.assertEqual(((0, 4), iphlpapi.TABLE_START), (fields["NumEntries"], fields["Table"][0]))

    def test_eachConstantHasItsValue(self) -> None:
        ours = {**vars(iphlpapi), **vars(library)}
        compared = {name for name in NUMBERS if name in ours}
        self.assertEqual({name: NUMBERS[name] for name in compared}, {name: ours[name] for name in compared})
        # The others are the fakes' own.
        fakes = {"IF_TYPE_PROP_VIRTUAL", "NdisMedium802_3", "ERROR_POSSIBLE_DEADLOCK"}
        self.assertEqual(fakes, NUMBERS.keys() - compared)
        own = {name for name in vars(library) if name.startswith("ERROR_")}
        # The compiler's headers lack this one.
        self.assertEqual({"ERROR_NO_SUCH_DEVICE"}, own - compared)


class LoadTests(SynchronousTestCase):
    """
    Tests for loading the DLL.
    """

    def test_theDLLIsOfWindows(self) -> None:
        if sys.platform == "win32":
            self.assertTrue(Network().names())
        else:
            error = self.assertRaises(OSError, Network)
            self.assertEqual(errno.ENOTSUP, error.errno)
            self.assertIn("is a library of Windows", str(error))


class MemoryTests(SynchronousTestCase):
    """
    Tests for copying memory that a DLL has named.
    """

    def test_octetsAreCopied(self) -> None:
        buffer = ctypes.create_string_buffer(b"octets")
        self.assertEqual(b"octets", iphlpapi.copied(ctypes.addressof(buffer), 6))
        self.assertEqual(b"", iphlpapi.copied(ctypes.addressof(buffer), 0))

    def test_memoryThatCannotBeReadIsReported(self) -> None:
        if sys.platform != "win32":
            self.skipTest(_MEMORY)
        for address in 0, 8, 0xFFFF_FFFF_FFFF_0000:
            error = self.assertRaises(OSError, iphlpapi.copied, address, 100)
            self.assertEqual(errno.EFAULT, error.errno)

    def test_aTableThatCannotBeReadIsNotFreed(self) -> None:
        if sys.platform != "win32":
            self.skipTest(_MEMORY)
        for address in 8, 0xFFFF_FFFF_FFFF_0000:
            library = ShortTable(address, hasRows=False)
            error = self.assertRaises(OSError, Network(library).names)
            self.assertEqual((errno.EFAULT, []), (error.errno, library.freed))

    def test_aTableThatEndsBeforeItsRowsDoIsReported(self) -> None:
        if sys.platform != "win32":
            self.skipTest(_MEMORY)
        system = ctypes.WinDLL("kernel32.dll")
        system.VirtualAlloc.restype = ctypes.c_void_p
        place = system.VirtualAlloc(ctypes.c_void_p(_PLACE), _PART, _MEM_COMMIT | _MEM_RESERVE, _PAGE_READWRITE)
        self.assertEqual(_PLACE, place)
        self.addCleanup(system.VirtualFree, ctypes.c_void_p(place), 0, _MEM_RELEASE)
        library = ShortTable(_PLACE + _PART - SIZES["MIB_IF_ROW2"])
        error = self.assertRaises(OSError, Network(library).names)
        self.assertEqual((errno.EFAULT, [library.address]), (error.errno, library.freed))


class ErrorTests(SynchronousTestCase):
    """
    Tests for the exceptions of Windows' error numbers.
    """

    def test_anErrorNumberHasItsException(self) -> None:
        for code, kind in (5, PermissionError), (5010, FileExistsError):
            self.assertIs(kind, type(library.CallFailed(code).explained("a text")))
        for code, number in (1168, errno.ENOENT), (87, errno.EINVAL), (50, errno.ENOTSUP), (8, errno.ENOMEM):
            error = library.CallFailed(code).explained("a text")
            self.assertEqual(number, error.errno)
            self.assertIn(f"a text (error {code}", str(error))
