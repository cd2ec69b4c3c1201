"""
ICMP errors about segments, and paths whose MTU decreases. Read RFC 5461, RFC 5927, RFC 1191 and RFC 8201 first.
"""

from __future__ import annotations

from tests.real.lab.segments import talk

_UNDER_WAY = "open\n! write hello\n< PA 1 1 : hello\n"
_WORKS = "> A 1 6\n> PA 1 6 : hello\n< A 6 6\n= data hello\n> R 6\n= lost ConnectionLost"
_BIG = "open\n! write x*1460\n< A 1 1 : x*1460\n"
_END = "> A 1 1461\n> R 1\n= lost ConnectionLost"

SOFT = [
    talk(f"ICMP: {name}, established", _UNDER_WAY + f"* {name} 1\n" + _WORKS)
    for name in ("net", "host", "protocol", "port", "admin", "expired", "quench")
] + [
    talk("ICMP: port, of what was not sent", _UNDER_WAY + "* port 6\n" + _WORKS),
    talk("ICMP: port, of what was acknowledged", _UNDER_WAY + "* port 0\n" + _WORKS),
]

CONNECTING = [
    talk(
        f"ICMP: {name}, connecting",
        f"! connect\n< S 0 <mss sok ts=none nop ws>\n* {name} 0\n= failed {error}",
        port=0,
        versions=versions,
    )
    for name, error, versions in (
        ("net", "NoRouteError 101", (4, 6)),
        ("protocol", "ConnectError 92", (4,)),
        ("protocol", "ConnectError 71", (6,)),
        ("admin", "ConnectError 113", (4,)),
        ("admin", "ConnectError 13", (6,)),
        ("expired", "ConnectError 113", (4, 6)),
        ("3/1", "ConnectError 113", (4,)),
        ("3/5", "ConnectError 95", (4,)),
        ("3/6", "NoRouteError 101", (4,)),
        ("3/7", "ConnectError 112", (4,)),
        ("3/8", "ConnectError 64", (4,)),
        ("3/9", "NoRouteError 101", (4,)),
        ("3/10", "ConnectError 113", (4,)),
        ("3/11", "NoRouteError 101", (4,)),
        ("3/12", "ConnectError 113", (4,)),
        ("3/14", "ConnectError 113", (4,)),
        ("3/15", "ConnectError 113", (4,)),
        ("12/0", "ConnectError 71", (4,)),
        ("1/2", "ConnectError 113", (6,)),
        ("1/3", "ConnectError 113", (6,)),
        ("1/5", "ConnectError 13", (6,)),
        ("1/6", "ConnectError 13", (6,)),
        ("1/7", "ConnectError 71", (6,)),
        ("3/1", "ConnectError 113", (6,)),
        ("4/0", "ConnectError 71", (6,)),
    )
] + [
    talk(
        f"ICMP: {name}, connecting",
        f"! connect\n< S 0 <mss sok ts=none nop ws>\n* {name} 0\n~ 0.3\n> RA 0 1\n= failed ConnectionRefusedError 111",
        port=0,
        versions=(4,),
    )
    for name in ("3/16", "4/0", "11/1")
]

NARROW = (
    [
        talk(
            f"a path of {mtu} octets",
            _BIG + f"* big {mtu} 1\n" + "".join(f"< {flags} {at} 1 : x*{size}\n" for flags, at, size in pieces) + _END,
            versions=(version,),
        )
        for version, mtu, pieces in (
            (4, 600, (("A", 1, 560), ("A", 561, 560), ("A", 1121, 340))),
            (4, 1400, (("A", 1, 1360), ("PA", 1361, 100))),
        )
    ]
    + [
        talk(
            f"a path of {mtu} octets",
            _BIG
            + f"""
        * big {mtu} 1
        < A 1 1 : x*512, to be taken apart
        < A 513 1 : x*512, to be taken apart
        < A 1025 1 : x*436, to be taken apart
        """
            + _END,
            versions=(4,),
        )
        for mtu in (500, 68)
    ]
    + [
        talk(
            "a path of 552 octets",
            _BIG
            + """
        * big 552 1
        L< A 1 1 : x*512
        L< A 513 1 : x*512
        L< A 1025 1 : x*436
        H< A 1 1 : x*512, to be taken apart
        H< A 513 1 : x*512, to be taken apart
        H< A 1025 1 : x*436, to be taken apart
        """
            + _END,
            "a path of 552 octets",
            versions=(4,),
        ),
        talk(
            "a path of unknown size",
            _BIG
            + """
        * big 0 1
        L< A 1 1 : x*512, to be taken apart
        L< A 513 1 : x*512, to be taken apart
        L< A 1025 1 : x*436, to be taken apart
        H< A 1 1 : x*966
        H< A 967 1 : x*494
        """
            + _END,
            "a path of unknown size",
            versions=(4,),
        ),
        talk(
            "a path of 1280 octets",
            """
        open
        ! write x*1440
        < A 1 1 : x*1440
        * big 1280 1
        < A 1 1 : x*1220
        < A 1221 1 : x*220
        > A 1 1441
        > R 1
        = lost ConnectionLost
        """,
            versions=(6,),
        ),
        talk(
            "a path narrows twice",
            _BIG
            + """
        * big 1000 1
        < A 1 1 : x*960
        < A 961 1 : x*500
        * big 600 1
        < A 1 1 : x*560
        < A 561 1 : x*560
        < A 1121 1 : x*340
        """
            + _END,
            versions=(4,),
        ),
        talk(
            "a path narrows three times",
            _BIG
            + """
        * big 1400 1
        < A 1 1 : x*1360
        < PA 1361 1 : x*100
        * big 1000 1
        < A 1 1 : x*960
        < A 961 1 : x*500
        * big 600 1
        L< A 1 1 : x*560
        L< A 561 1 : x*560
        L< A 1121 1 : x*340
        """
            + _END,
            "a path that narrows again and again",
            versions=(4,),
        ),
        talk("a path of 1500 octets", _BIG + "* big 1500 1\n" + _END, versions=(4,)),
        talk("a path of 9000 octets", _BIG + "* big 9000 1\n" + _END, versions=(4,)),
        talk(
            "a path of 600 octets, of what would be next",
            _BIG + "* big 600 1461\nL< A 1 1 : x*560\nL< A 561 1 : x*560\nL< A 1121 1 : x*340\n" + _END,
            "ICMP: an error about what would be sent next",
            versions=(4,),
        ),
        talk("a path of 600 octets, of what was not sent", _BIG + "* big 600 1462\n" + _END, versions=(4,)),
        talk("a path of 600 octets, of what was acknowledged", _BIG + "* big 600 0\n" + _END, versions=(4,)),
        talk(
            "a path of 1279 octets over IPv6",
            "open\n! write x*1440\n< A 1 1 : x*1440\n* big 1279 1\n> A 1 1441\n> R 1\n= lost ConnectionLost",
            versions=(6,),
        ),
        talk(
            "a path narrows, and the next connection knows it",
            _BIG
            + """
        * big 600 1
        < A 1 1 : x*560
        < A 561 1 : x*560
        < A 1121 1 : x*340
        > R 1
        = lost ConnectionLost
        reopen
        > S 0 <mss>
        L< SA 0 1 <mss=560>
        H< SA 0 1 <mss>
        > A 1 1
        = made
        ! write x*1000
        < A 1 1 : x*560
        < A 561 1 : x*440
        > R 1
        = lost ConnectionLost
        """,
            "a SYN+ACK to a narrow path",
            versions=(4,),
        ),
    ]
)

CONVERSATIONS = [*NARROW, *SOFT, *CONNECTING]
