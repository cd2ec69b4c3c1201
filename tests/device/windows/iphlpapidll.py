"""
The controls of the fake C{iphlpapi.dll} under Windows: the methods of
L{FakeIphlpapi<tests.device.windows.iphlpapifake.FakeIphlpapi>}, made by the DLL.
"""

from __future__ import annotations

import ctypes
from typing import Any

from tests.device.windows.constants import NUMBERS
from tests.device.windows.iphlpapifake import BOTH, INET, INET6, LINKS
from tests.windows.environment import folder
from txtuntap.device.windows.iphlpapi import load

#: The number of octets for the texts that the DLL writes.
_TEXT = 8192


class FakeDLL:
    """
    The fake DLL, which was compiled with the headers of Windows.

    @ivar library: the DLL's functions, as the package loads them.
    """

    def __init__(self) -> None:
        path = str(folder() / "fakes" / "fakeiphlpapi.dll")
        self.library = load(path)
        self._dll = ctypes.CDLL(path)
        self._dll.FakeReset()

    def __getattr__(self, name: str) -> Any:
        # The functions of the DLL, with which Network is made.
        return getattr(self.library, name)

    def add(self, name: str, kind: str, families: tuple[int, ...] = BOTH, mtu: int = 1500) -> int:
        link, medium, description, length = LINKS[kind]
        made = self._dll.FakeAdd(
            ctypes.c_wchar_p(name),
            NUMBERS[link],
            NUMBERS[medium],
            ctypes.c_wchar_p(description),
            length,
            mtu,
            INET in families,
            INET6 in families,
        )
        return int(made)

    def remove(self, index: int) -> None:
        self._dll.FakeRemove(index)

    def bind(self, index: int, family: int) -> None:
        self._dll.FakeBind(index, family)

    def rename(self, index: int, name: str) -> None:
        self._dll.FakeRename(index, ctypes.c_wchar_p(name))

    def setLink(self, index: int, isUp: bool, isConnected: bool) -> None:
        self._dll.FakeSetLink(index, isUp, isConnected)

    def setElevated(self, isElevated: bool) -> None:
        self._dll.FakeSetElevated(isElevated)

    def fail(self, function: str, code: int) -> None:
        self._dll.FakeFail(function.encode(), code)

    def poke(self, function: str, position: int, octets: bytes) -> None:
        self._dll.FakePoke(function.encode(), position, octets, len(octets))

    def withhold(self, function: str) -> None:
        self._dll.FakeWithhold(function.encode())

    def tell(self) -> None:
        self._dll.FakeTell()

    def settle(self) -> None:
        self._dll.FakeSettle()

    def asked(self) -> list[str]:
        return self._written("FakeAsked")

    def addressesOf(self, index: int) -> list[str]:
        return self._written("FakeAddresses", index)

    def routesOf(self, index: int) -> list[str]:
        return self._written("FakeRoutes", index, separator="\n")

    def mtuOf(self, index: int, family: int) -> int:
        return int(self._dll.FakeMtu(index, family))

    def tables(self) -> int:
        return int(self._dll.FakeTables())

    def registered(self) -> int:
        return int(self._dll.FakeRegistered())

    def _written(self, name: str, *arguments: int, separator: str | None = None) -> list[str]:
        """
        Call a function of the DLL that writes a text, and split the text.
        """
        text = ctypes.create_string_buffer(_TEXT)
        getattr(self._dll, name)(*arguments, text)
        return [each for each in text.value.decode().split(separator) if each]
