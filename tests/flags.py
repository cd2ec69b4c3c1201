"""
The flags of a TUN/TAP device with their values in C{linux/if_tun.h}.
"""

from __future__ import annotations

FLAGS = {
    "IFF_TUN": 0x0001,
    "IFF_TAP": 0x0002,
    "IFF_NAPI": 0x0010,
    "IFF_NAPI_FRAGS": 0x0020,
    "IFF_NO_CARRIER": 0x0040,
    "IFF_MULTI_QUEUE": 0x0100,
    "IFF_PERSIST": 0x0800,
    "IFF_NO_PI": 0x1000,
    "IFF_VNET_HDR": 0x4000,
    "IFF_TUN_EXCL": 0x8000,
}
