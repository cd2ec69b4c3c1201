"""
Segments that belong to no connection, and segments that a listener ignores. Read RFC 9293 sections 3.10.7.1 and
3.10.7.2 first.
"""

from __future__ import annotations

from tests.real.lab.segments import ACTOR, CLOSED, talk

_MADE = "open\n> R 1\n= lost ConnectionLost"

SILENT_TO_A_LISTENER = (
    ("no flags", "> . 0"),
    ("FIN", "> F 0"),
    ("Xmas", "> FPU 0"),
    ("SYN+FIN", "> SF 0 <mss>"),
    ("SYN+RST", "> SR 0 <mss>"),
    ("RST", "> R 0"),
    ("RST+ACK", "> RA 0 1"),
    ("a wrong checksum", "> S 0 wrong <mss>"),
    ("an offset of 4", "> S 0 off=4 <mss>"),
    ("an offset beyond the segment", "> S 0 off=15 <mss>"),
)

CLOSED_PORT = [
    talk(f"a closed port: {name}", text, port=CLOSED)
    for name, text in (
        ("SYN", "> S 0 <mss>\n< RA zero 1 w0"),
        ("SYN with data", "> S 0 : hello\n< RA zero 6 w0"),
        ("SYN+FIN", "> SF 0\n< RA zero 2 w0"),
        ("SYN+ACK", "> SA 0 77\n< R 77 w0"),
        ("ACK", "> A 5 77\n< R 77 w0"),
        ("data", "> PA 5 77 : hello\n< R 77 w0"),
        ("FIN", "> F 0\n< RA zero 1 w0"),
        ("FIN+ACK", "> FA 0 77\n< R 77 w0"),
        ("no flags", "> . 5\n< RA zero 5 w0"),
        ("no flags, with data", "> . 5 : hello\n< RA zero 10 w0"),
        ("Xmas", "> FPU 0\n< RA zero 1 w0"),
        ("all flags but RST and ACK", "> SFPUEC 0\n< RA zero 2 w0"),
        ("SYN+RST", "> SR 0\n~ 0.1"),
        ("RST", "> R 0\n~ 0.1"),
        ("RST+ACK", "> RA 0 77\n~ 0.1"),
        ("a wrong checksum", "> S 0 wrong"),
        ("an offset of 4", "> S 0 off=4"),
        ("an offset beyond the segment", "> S 0 off=15"),
        ("ECN", "> SEC 0 <mss>\n< RA zero 1 w0"),
        ("timestamps", "> S 0 <mss sok ts=0 nop ws=7>\n< RA zero 1 w0"),
    )
]
CLOSED_PORT += [
    talk(
        "a closed port: a SYN of another traffic class",
        f"> S 0 tos=184 <mss>\nL< RA zero 1 w0, {name} 0xb8\nH< RA zero 1 w0",
        "resets: the type of service, the traffic class",
        port=CLOSED,
        versions=(version,),
    )
    for version, name in ((4, "tos"), (6, "class"))
]

CLOSED_PORT += [
    talk(f"in a broadcast frame: {name}", f"> {segment}, to all\n~ 0.1", port=port)
    for name, segment, port in (
        ("SYN to a closed port", "S 0 <mss>", CLOSED),
        ("ACK to a closed port", "A 0 77", CLOSED),
        ("SYN to a listener", "S 0 <mss>", ACTOR),
        ("ACK to a listener", "A 0 77", ACTOR),
    )
]

LISTENER = [
    *(talk(f"a listener: {name}", text) for name, text in SILENT_TO_A_LISTENER),
    *(
        talk(f"a listener: {name}", text)
        for name, text in (
            ("ACK", "> A 5 77\n< R 77 w0"),
            ("data", "> PA 5 77 : hello\n< R 77 w0"),
            ("SYN+ACK", "> SA 0 77\n< R 77 w0"),
            ("FIN+ACK", "> FA 5 77\n< R 77 w0"),
            (
                "SYN and a FIN+ACK",
                "> S 0 <mss>\n< SA 0 1 <mss>\n> FA 1 1\n= made\n= lost ConnectionDone\n< FA 1 2\n> A 2 2",
            ),
            ("SYN with PSH and URG", "> SPU 0 u5 <mss>\n< SA 0 1 <mss>\n> R 1"),
            ("a reset", _MADE),
        )
    ),
]

CONVERSATIONS = [*CLOSED_PORT, *LISTENER]
