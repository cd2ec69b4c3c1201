"""
Segments of an established connection: acceptance, challenge ACKs and overlaps. Read RFC 9293 section 3.10.7.4 and
RFC 5961 first.
"""

from __future__ import annotations

from tests.real.lab.segments import talk

_WORKS = "> PA 1 1 : hello\n< A 1 6\n= data hello\n> R 6\n= lost ConnectionLost"
_LOST = "> R 1\n= lost ConnectionLost"

ACCEPTANCE = (
    [
        talk(f"established: {name}", "open\n" + text)
        for name, text in (
            ("data", _WORKS),
            ("an ACK", "> A 1 1\n" + _WORKS),
            ("data without ACK", "> P 1 : hello\n" + _WORKS),
            ("FIN without ACK", "> F 1\n" + _WORKS),
            ("no flags", "> . 1\n" + _WORKS),
            ("an ACK beyond the window", "> A 100000 1\n< A 1 1\n" + _WORKS),
            ("data beyond the window", "> PA 100000 1 : hello\n< A 1 1\n" + _WORKS),
            (
                "data beyond the window, twice",
                "> PA 100000 1 : hello\n< A 1 1\n> PA 100000 1 : hello\n< A 1 1\n" + _WORKS,
            ),
            ("FIN beyond the window", "> FA 100000 1\n< A 1 1\n" + _WORKS),
            ("data without ACK beyond the window", "> P 100000 : hello\n" + _WORKS),
            ("an ACK behind the window", "> A -5 1\n< A 1 1\n" + _WORKS),
            (
                "an ACK behind the window, twice",
                "> A -5 1\n< A 1 1\n> A -5 1\n> A -5 1\n~ 0.6\n> A -5 1\n< A 1 1\n" + _WORKS,
            ),
            ("a keepalive without an octet", "> A 0 1\n< A 1 1\n" + _WORKS),
            ("a keepalive with an octet", "> A 0 1 : x\n< A 1 1\n" + _WORKS),
            ("old data, twice", "> PA -5 1 : hello\n< A 1 1\n> PA -5 1 : hello\n< A 1 1\n" + _WORKS),
            ("an ACK of what was not sent", "> A 1 2\n< A 1 1\n" + _WORKS),
            ("an ACK of what was not sent, twice", "> A 1 2\n< A 1 1\n> A 1 2\n" + _WORKS),
            ("an ACK of what was not sent, with data", "> PA 1 2 : wrong\n< A 1 1\n" + _WORKS),
            ("an ACK of the SYN+ACK", "> A 1 0\n< A 1 1\n" + _WORKS),
            ("data with an old ACK", "> PA 1 -5 : wrong\n< A 1 1\n" + _WORKS),
            ("the reset", _LOST),
            ("a reset with a wrong ACK", "> RA 1 77\n= lost ConnectionLost\n> PA 1 1 : hello\n< R 1 w0"),
            ("a reset with data", "> R 1 : hello\n= lost ConnectionLost\n> PA 1 1 : hello\n< R 1 w0"),
            ("a reset one ahead", "> R 2\n< A 1 1\n" + _WORKS),
            ("a reset one ahead, twice", "> R 2\n< A 1 1\n> R 2\n" + _WORKS),
            ("a reset one behind", "> R 0\n" + _WORKS),
            ("a reset outside", "> R 100000\n" + _WORKS),
            ("a SYN", "> S 1 <mss>\n< A 1 1\n" + _WORKS),
            ("the first SYN again", "> S 0 <mss>\n< A 1 1\n" + _WORKS),
            ("a SYN outside of the window", "> S 100000 <mss>\n< A 1 1\n" + _WORKS),
            ("a SYN+ACK", "> SA 1 1 <mss>\n< A 1 1\n" + _WORKS),
            ("the SYN+ACK of another", "> SA 0 77 <mss>\n< A 1 1\n" + _WORKS),
            ("a SYN twice", "> S 1 <mss>\n< A 1 1\n> S 1 <mss>\n> SA 1 1 <mss>\n" + _WORKS),
            ("SYN+FIN", "> SF 1 <mss>\n< A 1 1\n" + _WORKS),
            ("SYN+RST", "> SR 1 <mss>\n= lost ConnectionLost\n> PA 1 1 : hello\n< R 1 w0"),
            (
                "a challenge, and a minute of them",
                "> R 2\n< A 1 1\n~ 0.6\n> S 5 <mss>\n< A 1 1\n~ 0.6\n> A 1 9\n< A 1 1\n" + _WORKS,
            ),
            ("a wrong checksum", "> PA 1 1 wrong : wrong\n" + _WORKS),
            ("an offset of 4", "> PA 1 1 off=4 : wrong\n" + _WORKS),
        )
    ]
    + [
        talk(f"SACK: {name}", "open sok\n" + text)
        for name, text in (
            ("data beyond the window", "> PA 100000 1 : hello\n< A 1 1\n" + _WORKS),
            (
                "a reset at the right edge",
                "> PA 6 1 : world\n< A 1 1 <nop nop sack=6-11>\n> R 11\n= lost ConnectionLost",
            ),
            (
                "a reset at the left edge",
                "> PA 6 1 : world\n< A 1 1 <nop nop sack=6-11>\n> R 6\n< A 1 1 <nop nop sack=6-11>\n" + _LOST,
            ),
            (
                "a reset at the right edge of another block",
                "> PA 6 1 : w\n< A 1 1 <nop nop sack=6-7>\n> PA 16 1 : w\n< A 1 1 <nop nop sack=16-17,6-7>\n"
                "> R 7\n< A 1 1 <nop nop sack=16-17,6-7>\n> R 17\n= lost ConnectionLost",
            ),
            ("a keepalive with an octet", "> A 0 1 : x\n< A 1 1 <nop nop sack=0-1>\n" + _WORKS),
            ("old data", "> PA -5 1 : hello\n< A 1 1 <nop nop sack=-5-0>\n" + _WORKS),
        )
    ]
    + [
        talk(f"timestamps: {name}", "open ts\n" + text)
        for name, text in (
            ("a reset without them", _LOST),
            ("a reset of an old one", "> R 1 <nop nop ts=-5>\n= lost ConnectionLost"),
            ("a reset ahead", "> R 2 <nop nop ts=2>\n< A 1 1 <nop nop ts=1>\n" + _LOST),
            ("a SYN", "> S 1 <mss sok ts=2>\n< A 1 1 <nop nop ts=1>\n" + _LOST),
            ("an old SYN", "> S 1 <mss sok ts=-2>\n< A 1 1 <nop nop ts=1>\n" + _LOST),
            ("an old ACK", "> A 1 1 <nop nop ts=-2>\n" + _LOST),
            ("an old ACK of what was not sent", "> A 1 7 <nop nop ts=-2>\n< A 1 1 <nop nop ts=1>\n" + _LOST),
        )
    ]
)

ACCEPTANCE.append(
    talk(
        "SACK: FIN out of order",
        """
        open sok
        > FA 6 1
        < A 1 1 <nop nop sack=6-7>
        > PA 1 1 : hello
        = data hello
        = lost ConnectionDone
        L< A 1 7
        < FA 1 7
        > A 7 2
        """,
        "data before a FIN that came early",
    )
)

_TAIL = "> R {}\n= lost ConnectionLost"


def _overlap(name: str, pieces: str, text: str) -> list[str]:
    lines = ["open"]
    for piece in pieces.split():
        at, data = piece.split(":")
        lines += [f"> PA {at} 1 : {data}", "< A 1 1"]
    return lines


OVERLAPS = [
    talk(
        f"overlap: {name}",
        "\n".join([*_overlap(name, pieces, ""), f"> PA 1 1 : {last}", f"< A 1 {1 + len(text)}", f"= data {text}"])
        + f"\n> R {1 + len(text)}\n= lost ConnectionLost",
    )
    for name, pieces, last, text in (
        ("the same again", "6:BBBBB 6:CCCCC", "aaaaa", "aaaaaBBBBB"),
        ("a longer one over it", "6:BBB 6:CCCCC", "aaaaa", "aaaaaCCCCC"),
        ("a shorter one in it", "6:BBBBB 7:CC", "aaaaa", "aaaaaBBBBB"),
        ("the lower one first", "6:BBBB 8:CCCC", "aaaaa", "aaaaaBBBBCC"),
        ("the upper one first", "8:CCCC 6:BBBB", "aaaaa", "aaaaaBBBBCC"),
        ("one in order over all", "6:BBB", "AAAAAAAAA", "AAAAAAAAA"),
        ("one in order into it", "6:BBBBB", "AAAAAAA", "AAAAAAABBB"),
        ("one between two", "6:BBB 12:DDD 7:CCCCCCC", "aaaaa", "aaaaaBBBCCCCCD"),
        ("one over two", "6:BBB 10:DDD 6:CCCCCCC", "aaaaa", "aaaaaCCCCCCC"),
        ("one over two, and before them", "7:BBB 11:DDD 6:CCCCCCCCCC", "aaaaa", "aaaaaCCCCCCCCCC"),
    )
]

URGENT = [
    talk(
        f"urgent: {name}",
        f"""
        open
        > PUA 1 1 u{pointer} : hello
        < A 1 6
        L= data {linux}
        H= data hello
        > R 6
        = lost ConnectionLost
        """,
        difference=difference,
    )
    for name, pointer, linux, difference in (
        ("the last octet", 5, "hell", "urgent data"),
        ("the first octet", 1, "ello", "urgent data"),
        ("beyond the data", 50, "hello", ""),
        ("a pointer of 0", 0, "ello", "urgent data"),
    )
] + [
    talk(
        "urgent: a pointer without the flag",
        "open\n> PA 1 1 u3 : hello\n< A 1 6\n= data hello\n> R 6\n= lost ConnectionLost",
    )
]

ECN = [
    talk(
        "ECN: a mark is echoed until it is heard of",
        """
        > SEC 0 <mss>
        < SAE 0 1 <mss>
        > A 1 1
        = made
        > PA 1 1 tos=3 : a
        < AE 1 2
        = data a
        > PA 2 1 tos=2 : b
        < AE 1 3
        = data b
        > PAC 3 1 tos=2 : c
        < A 1 4
        = data c
        ! write hello
        < PA 1 4 : hello, tos 0x2
        > R 4
        = lost ConnectionLost
        """,
        versions=(4,),
    ),
    talk(
        "ECN: an echo reduces the window, and is told of",
        """
        > SEC 0 <mss>
        < SAE 0 1 <mss>
        > A 1 1
        = made
        ! write hello
        < PA 1 1 : hello, tos 0x2
        > AE 1 6
        ! write hello
        < PAC 6 1 : hello, tos 0x2
        > A 1 11
        ! write hello
        < PA 11 1 : hello, tos 0x2
        > R 1
        = lost ConnectionLost
        """,
        versions=(4,),
    ),
    talk(
        "ECN: not agreed on",
        """
        open
        > PA 1 1 tos=3 : a
        < A 1 2
        = data a
        > PAEC 2 1 tos=3 : b
        < A 1 3
        = data b
        ! write hello
        < PA 1 3 : hello
        > R 3
        = lost ConnectionLost
        """,
    ),
]

CONVERSATIONS = [*ACCEPTANCE, *OVERLAPS, *URGENT, *ECN]
