"""
The end of a connection in every state, and TIME-WAIT. Read RFC 9293 sections 3.6 and 3.10.7.4, RFC 6191 and RFC 1337
first.
"""

from __future__ import annotations

from tests.real.lab.segments import HALF, talk

_BY_PEER = "open\n> FA 1 1\n= lost ConnectionDone\n< FA 1 2\n"
_BY_HOST = "open\n! close\n= lost ConnectionDone\n< FA 1 1\n"
_TIME_WAIT = _BY_HOST + "> A 1 2\n> FA 1 2\n< A 2 2\n"
_HALF = "open\n! half\n= write lost\n< FA 1 1\n"

CLOSING = [
    talk(f"close: {name}", text, port=port)
    for name, text, port in (
        ("by the peer", _BY_PEER + "> A 2 2\n> A 2 2\n< R 2 w0", 1010),
        (
            "by the peer, with data",
            "open\n> FPA 1 1 : hello\n= data hello\n= lost ConnectionDone\n< FA 1 7\n> A 7 2",
            1010,
        ),
        ("by the host", _TIME_WAIT, 1010),
        ("by the host, FIN and ACK in one", _BY_HOST + "> FA 1 2\n< A 2 2", 1010),
        (
            "by the host, after data",
            "open\n! write hello\n! close\n< PA 1 1 : hello\n= lost ConnectionDone\n< FA 6 1\n> A 1 7\n"
            "> FA 1 7\n< A 7 2",
            1010,
        ),
        ("both at once", _BY_HOST + "> FA 1 1\n< A 2 2\n> A 2 2\n> FA 1 2\n< A 2 2", 1010),
        ("the FIN is sent again", _BY_HOST + "< FA 1 1\n< FA 1 1\n> R 1", 1010),
        ("LAST-ACK: data", _BY_PEER + "> PA 2 1 : hello\n> A 2 2\n> A 2 2\n< R 2 w0", 1010),
        ("LAST-ACK: the FIN again", _BY_PEER + "> FA 1 1\n< A 2 2\n> A 2 2", 1010),
        ("LAST-ACK: a reset", _BY_PEER + "> R 2\n> A 2 2\n< R 2 w0", 1010),
        ("LAST-ACK: a SYN", _BY_PEER + "> S 2 <mss>\n< A 2 2\n> A 2 2", 1010),
        ("LAST-ACK: an ACK of nothing new", _BY_PEER + "> A 2 1\n> A 2 2\n> A 2 2\n< R 2 w0", 1010),
        ("FIN-WAIT-1: data", _BY_HOST + "> PA 1 1 : hello\n< R 1 w0\n> A 6 2\n< R 2 w0", 1010),
        ("FIN-WAIT-1: data and an ACK", _BY_HOST + "> PA 1 2 : hello\n< R 2 w0", 1010),
        ("FIN-WAIT-1: a reset", _BY_HOST + "> R 1\n> A 1 2\n< R 2 w0", 1010),
        ("FIN-WAIT-1: a SYN", _BY_HOST + "> S 1 <mss>\n< A 2 1\n> R 1", 1010),
        ("FIN-WAIT-1: an ACK of what was not sent", _BY_HOST + "> A 1 3\n< A 2 1\n> R 1", 1010),
        ("FIN-WAIT-2: data", _BY_HOST + "> A 1 2\n~ 0.05\n> PA 1 2 : hello\n< R 2 w0\n> A 6 2\n< R 2 w0", 1010),
        ("FIN-WAIT-2: a reset", _BY_HOST + "> A 1 2\n~ 0.05\n> R 1\n> A 1 2\n< R 2 w0", 1010),
        ("FIN-WAIT-2: an ACK again", _BY_HOST + "> A 1 2\n> A 1 2\n> FA 1 2\n< A 2 2", 1010),
        ("CLOSING: a reset", _BY_HOST + "> FA 1 1\n< A 2 2\n> R 2\n> A 2 2\n< R 2 w0", 1010),
        ("CLOSING: data", _BY_HOST + "> FA 1 1\n< A 2 2\n> PA 2 1 : hello\n> A 2 2\n> FA 1 2\n< A 2 2", 1010),
        (
            "CLOSE-WAIT: then the host",
            "open\n> FA 1 1\n= read lost\n< A 1 2\n! write hello\n< PA 1 2 : hello\n> A 2 6\n! close\n"
            "= lost ConnectionDone\n< FA 6 2\n> A 2 7\n> A 2 7\n< R 7 w0",
            HALF,
        ),
        ("by half", _HALF + "> A 1 2\n> PA 1 2 : hello\n< A 2 6\n= data hello\n> FA 6 2\n= read lost\n< A 2 7", HALF),
        (
            "by half, data before the ACK",
            _HALF + "> PA 1 1 : hello\n< A 2 6\n= data hello\n> R 6\n= lost ConnectionLost",
            HALF,
        ),
        ("by half, then all", _HALF + "> A 1 2\n! close\n= lost ConnectionDone\n> PA 1 2 : hello\n< R 2 w0", HALF),
        ("by half, both", _HALF + "> FA 1 1\n= read lost\n< A 2 2\n> A 2 2\n> FA 1 2\n< A 2 2", HALF),
        ("abort", "open\n! abort\n< RA 1 1\n= lost ConnectionAborted\n> A 1 1\n< R 1 w0", 1010),
        (
            "abort with data under way",
            "open\n! write hello\n< PA 1 1 : hello\n! abort\n< RA 6 1\n= lost ConnectionAborted",
            1010,
        ),
        (
            "abort after data",
            "open\n> PA 1 1 : hello\n< A 1 6\n= data hello\n! abort\n< RA 1 6\n= lost ConnectionAborted",
            1010,
        ),
        (
            "unread data",
            "open\n! pause\n~ 0.1\n> PA 1 1 : hello\n< A 1 6\n! close\n= lost ConnectionDone\n< FA 1 6\n< RA 2 6",
            1010,
        ),
    )
] + [
    talk("close: abort, timestamps", "open ts\n! abort\n< RA 1 1 <nop nop ts=1>\n= lost ConnectionAborted"),
    talk(
        "close: FIN-WAIT-1: data, timestamps",
        "open ts\n! close\n= lost ConnectionDone\n< FA 1 1 <nop nop ts=1>\n> PA 1 1 <nop nop ts=2> : hello\n< R 1 w0",
    ),
]

_READ_LOST = "a reset after a FIN that the application was told of"

DIFFERENT = [
    talk(
        f"close: {name}",
        f"open\n> FA 1 1\n= read lost\n< A 1 2\n{text}\n> R 2\nH= lost ConnectionLost",
        _READ_LOST,
        HALF,
    )
    for name, text in (
        ("CLOSE-WAIT: the FIN again", "> FA 1 1\n< A 1 2"),
        ("CLOSE-WAIT: data", "> PA 2 1 : hello\n! write hello\n< PA 1 2 : hello\n> A 2 6"),
        ("CLOSE-WAIT: the FIN, again and again", "> FA 1 1\n< A 1 2\n> FA 1 1\n< A 1 2\n> A 0 1\n< A 1 2"),
    )
] + [
    talk(
        "close: data behind the FIN",
        """
        open
        > FA 6 1
        < A 1 1
        > PA 7 1 : more
        < A 1 1
        > PA 1 1 : hello
        L= data hellomore
        H= data hello
        = read lost
        L< A 1 11
        H< A 1 7
        L> R 11
        H> R 7
        H= lost ConnectionLost
        """,
        "data behind a FIN that came early",
        HALF,
    ),
    *(
        talk(
            f"close: FIN-WAIT-2: {name}",
            _BY_HOST + f"> A 1 2\n~ 0.05\n{text}\nH< A 2 1\nH> R 1",
            "FIN-WAIT-2 of a closed connection: a SYN, or a FIN out of order",
        )
        for name, text in (("a SYN", "> S 9 <mss>\nL< RA zero 10 w0"), ("a FIN ahead", "> FA 9 2\nL< R 2 w0"))
    ),
]

TIME_WAIT = [
    talk(f"TIME-WAIT: {name}", _TIME_WAIT + text)
    for name, text in (
        ("the FIN again", "> FA 1 2\n< A 2 2"),
        ("an ACK in order", "> A 2 2\n~ 0.1"),
        ("an ACK ahead", "> A 9 2\n< A 2 2"),
        ("an ACK behind", "> A -9 2\n< A 2 2"),
        ("an ACK of what was not sent", "> A 2 9\n~ 0.1"),
        ("data", "> PA 2 2 : hello\n< A 2 2"),
        ("data, twice", "> PA 2 2 : hello\n< A 2 2\n> PA 2 2 : hello\n< A 2 2"),
        ("old data", "> PA -8 2 : hello\n< A 2 2"),
        ("no flags", "> . 2\n~ 0.1"),
        ("a SYN of the same number", "> S 0 <mss>\n< A 2 2"),
        ("a SYN of the next number", "> S 2 <mss>\n< A 2 2"),
        ("a SYN of a number behind", "> S 1 <mss>\n< A 2 2"),
        ("a SYN+ACK", "> SA 3 2 <mss>\n< A 2 2"),
        ("a newer SYN", "reopen\n> S 3 <mss>\n< SA 0 4 <mss>\n> A 4 1\n= made\n> R 4\n= lost ConnectionLost"),
        (
            "a much newer SYN",
            "reopen\n> S 100000 <mss>\n< SA 0 100001 <mss>\n> A 100001 1\n= made\n> R 100001\n= lost ConnectionLost",
        ),
        ("a reset behind", "> R 0\n> FA 1 2\n< A 2 2"),
        ("a reset ahead", "> R 9\n> FA 1 2\n< A 2 2"),
    )
] + [
    talk(
        "TIME-WAIT: the reset",
        _TIME_WAIT + "> R 2\n> FA 1 2\nL< R 2 w0\nH< A 2 2",
        difference="TIME-WAIT: a reset",
    )
]

_WITH_TIMES = """
    open ts
    ! close
    = lost ConnectionDone
    < FA 1 1 <nop nop ts=1>
    > A 1 2 <nop nop ts=2>
    > FA 1 2 <nop nop ts=3>
    < A 2 2 <nop nop ts=3>
"""

TIMES = [
    talk(f"TIME-WAIT, timestamps: {name}", _WITH_TIMES + text)
    for name, text in (
        ("the FIN again", "> FA 1 2 <nop nop ts=4>\n< A 2 2 <nop nop ts=3>"),
        ("an old ACK", "> A 2 2 <nop nop ts=1>\n< A 2 2 <nop nop ts=3>"),
        ("a newer SYN", "reopen\n> S -100 <mss sok ts=9>\n< SA 0 -99 <mss sok ts=9>\n> R -99"),
        ("a newer SYN of the next number", "reopen\n> S 2 <mss sok ts=9>\n< SA 0 3 <mss sok ts=9>\n> R 3"),
        ("an older SYN", "> S 100 <mss sok ts=1>\n< A 2 2 <nop nop ts=3>"),
        ("a SYN of the same time", "> S -100 <mss sok ts=3>\n< A 2 2 <nop nop ts=3>"),
        (
            "a SYN of the same time and a newer number",
            "reopen\n> S 100 <mss sok ts=3>\n< SA 0 101 <mss sok ts=3>\n> R 101",
        ),
        ("a newer SYN without", "reopen\n> S 100 <mss>\n< SA 0 101 <mss>\n> R 101"),
    )
]

CONVERSATIONS = [*CLOSING, *DIFFERENT, *TIME_WAIT, *TIMES]
