"""
The names, indices and MTUs of interfaces, by which a device of Windows learns the state of its interface when it is
opened. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import ctypes

from txtuntap.device.settings import MAX_MTU, MIN_MTU
from txtuntap.device.windows.iphlpapi import AF_INET, AF_INET6, MIB_IPINTERFACE_ROW, load

#: The most characters of an interface's name, with the terminating zero (C{IF_MAX_STRING_SIZE}).
_NAME_LENGTH = 257

#: The MTU of an interface whose MTU is not known.
DEFAULT_MTU = 1500


class Links:
    """
    The calls of C{iphlpapi.dll} that a device of Windows makes. Tests can replace this by another object with the same
    methods. An interface has a local identity (C{NET_LUID}), which is a number.
    """

    def __init__(self) -> None:
        """
        @raise OSError: this is not Windows.
        """
        self._library = load()

    def _fails(self, name: str, *arguments: object) -> bool:
        """
        Make a call that returns 0 if it succeeds. A call that this version of Windows lacks fails.
        """
        try:
            return bool(getattr(self._library, name)(*arguments))
        except OSError:
            return True

    def byName(self, name: str) -> int | None:
        """
        Find the interface with a name; C{None}: there is none.
        """
        luid = ctypes.c_uint64()
        failed = self._fails("ConvertInterfaceAliasToLuid", name, ctypes.byref(luid))
        return None if failed else luid.value

    def byGUID(self, guid: bytes) -> int | None:
        """
        Find the interface with an identity of 16 octets, in the order of C{GUID}; C{None}: there is none.
        """
        luid = ctypes.c_uint64()
        buffer = ctypes.create_string_buffer(guid, 16)
        return None if self._fails("ConvertInterfaceGuidToLuid", buffer, ctypes.byref(luid)) else luid.value

    def name(self, luid: int) -> str | None:
        """
        Return the name of an interface; C{None}: there is no such interface.
        """
        name = ctypes.create_unicode_buffer(_NAME_LENGTH)
        asked = ctypes.c_uint64(luid)
        failed = self._fails("ConvertInterfaceLuidToAlias", ctypes.byref(asked), name, _NAME_LENGTH)
        return None if failed else name.value or None

    def index(self, luid: int) -> int:
        """
        Return the index of an interface; 0: there is no such interface.
        """
        index = ctypes.c_uint32()
        asked = ctypes.c_uint64(luid)
        failed = self._fails("ConvertInterfaceLuidToIndex", ctypes.byref(asked), ctypes.byref(index))
        return 0 if failed else index.value

    def mtu(self, luid: int) -> int | None:
        """
        Return the MTU of an interface in octets, that of IPv4 if it has both versions; C{None}: it is not known.
        """
        for family in AF_INET, AF_INET6:
            row = MIB_IPINTERFACE_ROW(Family=family, InterfaceLuid=luid)
            if not self._fails("GetIpInterfaceEntry", ctypes.byref(row)) and MIN_MTU <= row.NlMtu <= MAX_MTU:
                return int(row.NlMtu)
        return None
