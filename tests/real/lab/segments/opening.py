"""
The opening of a connection from both sides. Read RFC 9293 sections 3.5, 3.10.7.3 and 3.10.7.4 first.
"""

from __future__ import annotations

from tests.real.lab.segments import talk

_SYN = "> S 0 <mss>\n< SA 0 1 <mss>\n"
_UP = "> A 1 1\n= made\n> R 1\n= lost ConnectionLost"

HALF_OPEN = [
    talk(f"half open: {name}", _SYN + text)
    for name, text in (
        ("the same SYN again", "> S 0 <mss>\n< SA 0 1 <mss>\n" + _UP),
        ("another SYN in the window", "> S 100 <mss>\n< RA zero 101 w0\n> A 1 1\n< R 1 w0"),
        ("the next SYN", "> S 1 <mss>\n< RA zero 2 w0\n> A 1 1\n< R 1 w0"),
        ("a SYN outside of the window", "> S 100000 <mss>\n< A 1 1\n" + _UP),
        ("a SYN behind the window", "> S -100 <mss>\n< A 1 1\n" + _UP),
        ("an ACK of the SYN+ACK's number", "> A 1 0\n< R 0 w0\n" + _UP),
        ("an ACK too high", "> A 1 2\n< R 2 w0\n" + _UP),
        ("an ACK too high with data", "> PA 1 7 : hello\n< R 7 w0\n" + _UP),
        ("data without ACK", "> P 1 : hello\n" + _UP),
        ("no flags", "> . 1\n" + _UP),
        ("FIN without ACK", "> F 1\n" + _UP),
        ("an ACK beyond the window", "> A 100000 1\n< A 1 1\n" + _UP),
        ("an ACK behind the window", "> A -5 1\n< A 1 1\n" + _UP),
        ("the reset", "> R 1\n> A 1 1\n< R 1 w0"),
        ("a reset with an ACK", "> RA 1 1\n> A 1 1\n< R 1 w0"),
        ("a reset with a wrong ACK", "> RA 1 77\n> A 1 1\n< R 1 w0"),
        ("a reset one ahead", "> R 2\n< A 1 1\n" + _UP),
        ("a reset at the SYN", "> R 0\n" + _UP),
        ("a reset outside", "> R 100000\n" + _UP),
        ("SYN+ACK", "> SA 1 1 <mss>\n< R 1 w0\n> A 1 1\n< R 1 w0"),
        ("data in the third segment", "> PA 1 1 : hello\n= made\n= data hello\n< A 1 6\n> R 6\n= lost ConnectionLost"),
        (
            "data and FIN in the third segment",
            "> FPA 1 1 : hello\n= made\n= data hello\n= lost ConnectionDone\n< FA 1 7\n> A 7 2",
        ),
        ("FIN in the third segment", "> FA 1 1\n= made\n= lost ConnectionDone\n< FA 1 2\n> A 2 2"),
        (
            "data ahead of the third segment",
            "> PA 6 1 : world\n= made\n< A 1 1\n> PA 1 1 : hello\n< A 1 11\n= data helloworld\n> R 11\n"
            "= lost ConnectionLost",
        ),
        (
            "a window of 0 in the third segment",
            "> A 1 1 w0\n= made\n! write hello\n< A 0 1\n> A 1 1 w2000\n< PA 1 1 : hello\n> R 1\n= lost ConnectionLost",
        ),
        ("an old duplicate is not challenged twice", "> A -5 1\n< A 1 1\n> A -5 1\n> A -5 1\n" + _UP),
        ("ICMP: unreachable port, of another number", "* port 9\n" + _UP),
    )
] + [
    talk(
        "half open: timestamps, an older one",
        "> S 0 <mss sok ts=9>\n< SA 0 1 <mss sok ts=9>\n> A 1 1 <nop nop ts=5>\n< A 1 1 <nop nop ts=9>\n> R 1",
    ),
    talk(
        "half open: an echoed timestamp that was not sent",
        "> S 0 <mss sok ts=9>\n< SA 0 1 <mss sok ts=9>\n> A 1 1 <nop nop ts=9/7>\n< A 1 1 <nop nop ts=9>\n> R 1",
    ),
    *(
        talk(
            f"half open: ICMP: {name} over IPv{version}",
            _SYN + f"* {name} 0\n> A 1 1\nL< R 1 w0\nH= made\nH> R 1\nH= lost ConnectionLost",
            "ICMP: an error about a SYN+ACK",
            versions=(version,),
        )
        for name, version in (("net", 4), ("host", 4), ("expired", 4), ("admin", 6), ("port", 6), ("protocol", 6))
    ),
    *(
        talk(f"half open: ICMP: {name} over IPv{version}, ignored", _SYN + f"* {name} 0\n" + _UP, versions=(version,))
        for name, version in (("admin", 4), ("protocol", 4), ("net", 6), ("host", 6), ("expired", 6))
    ),
    talk("half open: ICMP: unreachable port over IPv4", _SYN + "* port 0\n" + _UP, versions=(4,)),
    talk("half open: the SYN+ACK is sent again", _SYN + "< SA 0 1 <mss>\n< SA 0 1 <mss>\n" + _UP),
]

_ANSWER = "> SA 0 1 <mss sok ts=0 nop ws=2>\n< A 1 1 <nop nop ts=0>\n= made\n"
_CONNECT = "! connect\n< S 0 <mss sok ts=none nop ws>\n"
_LOST = "> R 1\n= lost ConnectionLost"
_STOP = "! stop\n= failed UserError"

CONNECTING = [
    talk(f"connecting: {name}", _CONNECT + text, port=0)
    for name, text in (
        ("it is accepted", _ANSWER + _LOST),
        ("it is accepted without options", "> SA 0 1\n< A 1 1\n= made\n! write hello\n< PA 1 1 : hello\n" + _LOST),
        ("refused", "> RA 0 1\n= failed ConnectionRefusedError 111"),
        ("a reset without ACK", "> R 1\n" + _ANSWER + _LOST),
        ("a reset with a wrong ACK", "> RA 0 7\n< S 0 <mss sok ts=none nop ws>\n" + _ANSWER + _LOST),
        ("a SYN+ACK of a wrong number", "> SA 0 7 <mss>\n< R 7 w0\n< S 0 <mss sok ts=none nop ws>\n" + _ANSWER + _LOST),
        ("an ACK of a wrong number", "> A 0 7\n< R 7 w0\n< S 0 <mss sok ts=none nop ws>\n" + _ANSWER + _LOST),
        ("an ACK of nothing", "> A 0 0\n< R 0 w0\n< S 0 <mss sok ts=none nop ws>\n" + _ANSWER + _LOST),
        ("an ACK without SYN", "> A 0 1\n" + _ANSWER + _LOST),
        ("data without SYN", "> PA 1 1 : hello\n" + _ANSWER + _LOST),
        ("no flags", "> . 0\n" + _ANSWER + _LOST),
        ("FIN", "> F 0\n" + _ANSWER + _LOST),
        ("FIN+ACK", "> FA 0 1\n" + _ANSWER + _LOST),
        ("a SYN+ACK with a reset", "> SRA 0 1 <mss>\n= failed ConnectionRefusedError 111"),
        (
            "a SYN+ACK with a wrong timestamp",
            "> SA 0 1 <mss sok ts=0/5 nop ws=2>\n< R 1 w0\n< S 0 <mss sok ts=none nop ws>\n" + _ANSWER + _LOST,
        ),
        ("it is given up", _STOP + "\n> SA 0 1 <mss>\n< R 1 w0"),
        ("the SYN is sent again", "< S 0 <mss sok ts=none nop ws>\n< S 0 <mss sok ts=none nop ws>\n" + _ANSWER + _LOST),
        ("ICMP: unreachable port", "* port 0\n= failed ConnectionRefusedError 111"),
        ("ICMP: unreachable host", "* host 0\n= failed ConnectError 113"),
        ("ICMP: of another number", "* port 9\n" + _ANSWER + _LOST),
        ("ICMP: of a number before", "* port -1\n" + _ANSWER + _LOST),
        ("the SYN+ACK again", _ANSWER + "> SA 0 1 <mss sok ts=0 nop ws=2>\n< A 1 1 <nop nop ts=0>\n" + _LOST),
        (
            "a window that is not scaled",
            "> SA 0 1 w3 <mss nop ws=2>\n< A 1 1\n= made\n! write hel\n< PA 1 1 : hel\n! write lo\n" + _LOST,
        ),
    )
] + [
    talk(f"connecting: {name}", _CONNECT + text, difference, port=0)
    for name, text, difference in (
        (
            "a SYN+ACK with data",
            """
            > SA 0 1 <mss> : hello
            L< A 1 1
            H< A 1 6
            = made
            H= data hello
            L> R 1
            H> R 6
            = lost ConnectionLost
            """,
            "connecting: a SYN+ACK with data or FIN",
        ),
        (
            "a SYN+ACK with FIN",
            """
            > SFA 0 1 <mss>
            = made
            L< A 1 1
            L> R 1
            L= lost ConnectionLost
            H= lost ConnectionDone
            H< FA 1 2
            H> A 2 2
            """,
            "connecting: a SYN+ACK with data or FIN",
        ),
        *(
            (
                f"both at once, and {name}",
                f"""
                > S 0 <mss>
                L< SA 0 1 <mss sok ts=none nop ws>
                H< SA 0 1 <mss>
                {text}
                > PA 1 1 : hello
                < A 1 6
                = data hello
                > R 6
                = lost ConnectionLost
                """,
                "connecting: both at once",
            )
            for name, text in (("a SYN+ACK", "> SA 0 1 <mss>\n= made\n< A 1 1"), ("an ACK", "> A 1 1\n= made"))
        ),
    )
]

CONVERSATIONS = [*HALF_OPEN, *CONNECTING]
