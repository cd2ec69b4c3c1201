"""
The structures and functions of C{iphlpapi.dll} (C{netioapi.h}), which configure and report the interfaces of Windows.
Run under Wine with fake drivers, not on a real Windows yet.

The names of structures' fields, of functions and of constants are those of Windows' headers. The types have the same
sizes on each platform, so that tests can compare the structures everywhere.
"""

from __future__ import annotations

import ctypes
import errno
from functools import cache
from typing import Any

from txtuntap.device.windows.library import load as loadLibrary

#: C{ADDRESS_FAMILY}
AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 23

#: C{NL_DAD_STATE}: the address was found to be unique, and can be used.
IpDadStatePreferred = 4

#: C{NL_ROUTE_PROTOCOL}: a route that a program has added.
MIB_IPPROTO_NETMGMT = 3

#: C{NET_IF_ADMIN_STATUS} and C{IF_OPER_STATUS}
NET_IF_ADMIN_STATUS_UP, IfOperStatusUp = 1, 1

#: C{IFTYPE}
IF_TYPE_ETHERNET_CSMACD, IF_TYPE_SOFTWARE_LOOPBACK = 6, 24

#: C{NDIS_MEDIUM}: an interface that carries IP packets without a link header.
NdisMediumIP = 19

#: The position of the first row in each table, after the number of rows.
TABLE_START = 8

#: The handle of the calling process (C{GetCurrentProcess}).
_THIS_PROCESS = -1


class SOCKADDR_INET(ctypes.Structure):
    """
    An IPv4 or IPv6 address with its family. The octets of an address are in network byte order.
    """

    _fields_ = (
        ("si_family", ctypes.c_uint16),
        ("sin_port", ctypes.c_uint16),
        # The flow information of IPv6 is in this place, too.
        ("sin_addr", ctypes.c_uint8 * 4),
        ("sin6_addr", ctypes.c_uint8 * 16),
        ("sin6_scope_id", ctypes.c_uint32),
    )


class IP_ADDRESS_PREFIX(ctypes.Structure):
    """
    The address and the prefix length of a network.
    """

    _fields_ = (("Prefix", SOCKADDR_INET), ("PrefixLength", ctypes.c_uint8))


class MIB_UNICASTIPADDRESS_ROW(ctypes.Structure):
    """
    One address of an interface.
    """

    _fields_ = (
        ("Address", SOCKADDR_INET),
        ("InterfaceLuid", ctypes.c_uint64),
        ("InterfaceIndex", ctypes.c_uint32),
        ("PrefixOrigin", ctypes.c_int32),
        ("SuffixOrigin", ctypes.c_int32),
        ("ValidLifetime", ctypes.c_uint32),
        ("PreferredLifetime", ctypes.c_uint32),
        ("OnLinkPrefixLength", ctypes.c_uint8),
        ("SkipAsSource", ctypes.c_uint8),
        ("DadState", ctypes.c_int32),
        ("ScopeId", ctypes.c_uint32),
        ("CreationTimeStamp", ctypes.c_int64),
    )


class MIB_IPINTERFACE_ROW(ctypes.Structure):
    """
    The settings of one interface for IPv4, or for IPv6.
    """

    _fields_ = (
        ("Family", ctypes.c_uint16),
        ("InterfaceLuid", ctypes.c_uint64),
        ("InterfaceIndex", ctypes.c_uint32),
        ("MaxReassemblySize", ctypes.c_uint32),
        ("InterfaceIdentifier", ctypes.c_uint64),
        ("MinRouterAdvertisementInterval", ctypes.c_uint32),
        ("MaxRouterAdvertisementInterval", ctypes.c_uint32),
        ("AdvertisingEnabled", ctypes.c_uint8),
        ("ForwardingEnabled", ctypes.c_uint8),
        ("WeakHostSend", ctypes.c_uint8),
        ("WeakHostReceive", ctypes.c_uint8),
        ("UseAutomaticMetric", ctypes.c_uint8),
        ("UseNeighborUnreachabilityDetection", ctypes.c_uint8),
        ("ManagedAddressConfigurationSupported", ctypes.c_uint8),
        ("OtherStatefulConfigurationSupported", ctypes.c_uint8),
        ("AdvertiseDefaultRoute", ctypes.c_uint8),
        ("RouterDiscoveryBehavior", ctypes.c_int32),
        ("DadTransmits", ctypes.c_uint32),
        ("BaseReachableTime", ctypes.c_uint32),
        ("RetransmitTime", ctypes.c_uint32),
        ("PathMtuDiscoveryTimeout", ctypes.c_uint32),
        ("LinkLocalAddressBehavior", ctypes.c_int32),
        ("LinkLocalAddressTimeout", ctypes.c_uint32),
        ("ZoneIndices", ctypes.c_uint32 * 16),
        ("SitePrefixLength", ctypes.c_uint32),
        ("Metric", ctypes.c_uint32),
        ("NlMtu", ctypes.c_uint32),
        ("Connected", ctypes.c_uint8),
        ("SupportsWakeUpPatterns", ctypes.c_uint8),
        ("SupportsNeighborDiscovery", ctypes.c_uint8),
        ("SupportsRouterDiscovery", ctypes.c_uint8),
        ("ReachableTime", ctypes.c_uint32),
        ("TransmitOffload", ctypes.c_uint8),
        ("ReceiveOffload", ctypes.c_uint8),
        ("DisableDefaultRoutes", ctypes.c_uint8),
    )


class MIB_IPFORWARD_ROW2(ctypes.Structure):
    """
    One route of IPv4 or IPv6.
    """

    _fields_ = (
        ("InterfaceLuid", ctypes.c_uint64),
        ("InterfaceIndex", ctypes.c_uint32),
        ("DestinationPrefix", IP_ADDRESS_PREFIX),
        ("NextHop", SOCKADDR_INET),
        ("SitePrefixLength", ctypes.c_uint8),
        ("ValidLifetime", ctypes.c_uint32),
        ("PreferredLifetime", ctypes.c_uint32),
        ("Metric", ctypes.c_uint32),
        ("Protocol", ctypes.c_int32),
        ("Loopback", ctypes.c_uint8),
        ("AutoconfigureAddress", ctypes.c_uint8),
        ("Publish", ctypes.c_uint8),
        ("Immortal", ctypes.c_uint8),
        ("Age", ctypes.c_uint32),
        ("Origin", ctypes.c_int32),
    )


class MIB_IF_ROW2(ctypes.Structure):
    """
    The link of one interface. Texts are UTF-16, and end at the first zero.
    """

    _fields_ = (
        ("InterfaceLuid", ctypes.c_uint64),
        ("InterfaceIndex", ctypes.c_uint32),
        ("InterfaceGuid", ctypes.c_uint8 * 16),
        ("Alias", ctypes.c_uint16 * 257),
        ("Description", ctypes.c_uint16 * 257),
        ("PhysicalAddressLength", ctypes.c_uint32),
        ("PhysicalAddress", ctypes.c_uint8 * 32),
        ("PermanentPhysicalAddress", ctypes.c_uint8 * 32),
        ("Mtu", ctypes.c_uint32),
        ("Type", ctypes.c_uint32),
        ("TunnelType", ctypes.c_int32),
        ("MediaType", ctypes.c_int32),
        ("PhysicalMediumType", ctypes.c_int32),
        ("AccessType", ctypes.c_int32),
        ("DirectionType", ctypes.c_int32),
        ("InterfaceAndOperStatusFlags", ctypes.c_uint8),
        ("OperStatus", ctypes.c_int32),
        ("AdminStatus", ctypes.c_int32),
        ("MediaConnectState", ctypes.c_int32),
        ("NetworkGuid", ctypes.c_uint8 * 16),
        ("ConnectionType", ctypes.c_int32),
        ("TransmitLinkSpeed", ctypes.c_uint64),
        ("ReceiveLinkSpeed", ctypes.c_uint64),
        ("InOctets", ctypes.c_uint64),
        ("InUcastPkts", ctypes.c_uint64),
        ("InNUcastPkts", ctypes.c_uint64),
        ("InDiscards", ctypes.c_uint64),
        ("InErrors", ctypes.c_uint64),
        ("InUnknownProtos", ctypes.c_uint64),
        ("InUcastOctets", ctypes.c_uint64),
        ("InMulticastOctets", ctypes.c_uint64),
        ("InBroadcastOctets", ctypes.c_uint64),
        ("OutOctets", ctypes.c_uint64),
        ("OutUcastPkts", ctypes.c_uint64),
        ("OutNUcastPkts", ctypes.c_uint64),
        ("OutDiscards", ctypes.c_uint64),
        ("OutErrors", ctypes.c_uint64),
        ("OutUcastOctets", ctypes.c_uint64),
        ("OutMulticastOctets", ctypes.c_uint64),
        ("OutBroadcastOctets", ctypes.c_uint64),
        ("OutQLen", ctypes.c_uint64),
    )


# Tests on other platforms call the functions of a fake, which have the calling convention of C.
_function: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)

#: The type of the functions that Windows calls after a change (C{PIPINTERFACE_CHANGE_CALLBACK} and
#: C{PUNICAST_IPADDRESS_CHANGE_CALLBACK}). The arguments are the context, the changed row, and the kind of the change.
CHANGE_CALLBACK: Any = _function(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)

_FAMILY, _TABLE, _HANDLE = ctypes.c_uint16, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p)
_ADDRESS, _ROUTE = ctypes.POINTER(MIB_UNICASTIPADDRESS_ROW), ctypes.POINTER(MIB_IPFORWARD_ROW2)
_INTERFACE, _LUID = ctypes.POINTER(MIB_IPINTERFACE_ROW), ctypes.POINTER(ctypes.c_uint64)

#: The types of the arguments of each function. A function returns an error number of Windows.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "GetIfTable2": (_TABLE,),
    "GetIpInterfaceTable": (_FAMILY, _TABLE),
    "GetUnicastIpAddressTable": (_FAMILY, _TABLE),
    "GetIpForwardTable2": (_FAMILY, _TABLE),
    "GetIpInterfaceEntry": (_INTERFACE,),
    "SetIpInterfaceEntry": (_INTERFACE,),
    "CreateUnicastIpAddressEntry": (_ADDRESS,),
    "DeleteUnicastIpAddressEntry": (_ADDRESS,),
    "CreateIpForwardEntry2": (_ROUTE,),
    "DeleteIpForwardEntry2": (_ROUTE,),
    "NotifyIpInterfaceChange": (_FAMILY, CHANGE_CALLBACK, ctypes.c_void_p, ctypes.c_uint8, _HANDLE),
    "NotifyUnicastIpAddressChange": (_FAMILY, CHANGE_CALLBACK, ctypes.c_void_p, ctypes.c_uint8, _HANDLE),
    "CancelMibChangeNotify2": (ctypes.c_void_p,),
    "ConvertInterfaceAliasToLuid": (ctypes.c_wchar_p, _LUID),
    "ConvertInterfaceGuidToLuid": (ctypes.c_void_p, _LUID),
    "ConvertInterfaceLuidToAlias": (_LUID, ctypes.c_wchar_p, ctypes.c_size_t),
    "ConvertInterfaceLuidToIndex": (_LUID, ctypes.POINTER(ctypes.c_uint32)),
}

#: The types of the arguments of each function that returns nothing.
PROCEDURES: dict[str, tuple[Any, ...]] = {
    "FreeMibTable": (ctypes.c_void_p,),
    "InitializeUnicastIpAddressEntry": (_ADDRESS,),
    "InitializeIpForwardEntry": (_ROUTE,),
}


class _Library:
    """
    The functions of a DLL by their names. A function that the DLL lacks raises C{ENOTSUP}, as Wine lacks some.
    """

    def __init__(self, dll: Any) -> None:
        for functions, result in (FUNCTIONS, ctypes.c_uint32), (PROCEDURES, None):
            for name, arguments in functions.items():
                try:
                    function = getattr(dll, name)
                except AttributeError:
                    setattr(self, name, self._lacking(name))
                    continue
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)

    def _lacking(self, name: str) -> Any:
        def refuse(*arguments: object) -> None:
            raise OSError(
                errno.ENOTSUP, f"this iphlpapi.dll has no {name}, as that of Wine and of Windows before Vista"
            )

        return refuse


@cache
def load(path: str | None = None) -> Any:
    """
    Load C{iphlpapi.dll}, once for each path.

    @param path: the absolute path of a replacement; C{None}: load Windows' own DLL.

    @return: an object that has each function of the DLL as an attribute.

    @raise OSError: there is no such DLL, or this is another platform.
    """
    return _Library(loadLibrary("iphlpapi.dll") if path is None else loadLibrary(path, 0))


def copied(address: int, size: int) -> bytes:
    """
    Copy octets out of the memory of this process. On Windows, memory that the process cannot read is an error, and does
    not end the process.

    @param address: the position of the first octet.

    @raise OSError: the process cannot read this memory (C{EFAULT}).
    """
    read = _reader()
    if read is None or not size:
        return ctypes.string_at(address, size)
    octets = ctypes.create_string_buffer(size)
    if not read(_THIS_PROCESS, address, octets, size, None):
        raise OSError(errno.EFAULT, f"Windows gave the position of {size} octets that this process cannot read")
    return octets.raw


@cache
def _reader() -> Any:
    """
    Find C{ReadProcessMemory}; C{None}: this is another platform, where tests run.
    """
    if not hasattr(ctypes, "WinDLL"):
        return None
    read = loadLibrary("kernel32.dll").ReadProcessMemory
    read.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    read.restype = ctypes.c_int
    return read
