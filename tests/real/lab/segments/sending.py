"""
The host as a sender: windows, small segments and loss. Read RFC 9293 section 3.8, RFC 5681, RFC 6582 and RFC 8985
first.
"""

from __future__ import annotations

from tests.real.lab.segments import talk

_LOST = "> R 1\n= lost ConnectionLost"

#: The handshake of a peer with a segment size of 1000 octets and a round-trip time of 0.1 seconds.
_OPEN = "> S 0 <mss=1000{}>\n< SA 0 1 <mss{}>\n~ 0.1\n> A 1 1{}\n= made\n"
_PLAIN = _OPEN.format("", "", "")
_SACK = _OPEN.format(" nop nop sok", " nop nop sok", "")


def _segments(first: int, last: int) -> str:
    """
    The lines of segments from the host with 1000 octets each, by their numbers from 0.
    """
    return "".join(f"< A {1 + 1000 * each} 1 : x*1000\n" for each in range(first, last + 1))


SENDING = [
    talk(f"sending: {name}", text)
    for name, text in (
        (
            "Nagle",
            "open\n! write hello\n< PA 1 1 : hello\n! write hello\n! write hello\n~ 0.1\n> A 1 6\n"
            "< PA 6 1 : hellohello\n" + _LOST,
        ),
        ("no delay", "open\n! nodelay\n! write hello\n< PA 1 1 : hello\n! write hello\n< PA 6 1 : hello\n" + _LOST),
        (
            "ten segments at first",
            _PLAIN + "! write x*20000\n" + _segments(0, 9) + "> A 1 10001\n" + _segments(10, 19) + _LOST,
        ),
        (
            "a window of two and a half",
            _OPEN.format("", "", " w2500") + "! write x*10000\n" + _segments(0, 1) + "~ 0.02\n" + _LOST,
        ),
        (
            "a closed window",
            "open w0\n! write hello\n< A 0 1\n> A 1 1 w0\n< A 0 1\n> A 1 1 w0\n< A 0 1\n> A 1 1 w65535\n"
            "< PA 1 1 : hello\n" + _LOST,
        ),
        (
            "a window that opens a little",
            "> S 0 <mss=100>\n< SA 0 1 <mss>\n> A 1 1 w0\n= made\n! write x*200\n< A 0 1\n> A 1 1 w100\n"
            "< A 1 1 : x*100\n> A 1 101 w100\n< PA 101 1 : x*100\n" + _LOST,
        ),
        (
            "a window that shrinks",
            "> S 0 <mss=100>\n< SA 0 1 <mss>\n> A 1 1 w500\n= made\n> A 1 1 w3\n! write xxxxxxxxxx\n"
            "L< PA 1 1 : xxxxxxxxxx\nH< PA 1 1 : xxxxxxxxxx\n" + _LOST,
        ),
        (
            "a window that closes",
            "> S 0 <mss=100>\n< SA 0 1 <mss>\n> A 1 1 w500\n= made\n> A 1 1 w0\n! write xxxxxxxxxx\n< A 0 1\n" + _LOST,
        ),
        (
            "data is sent again",
            "open\n! write hello\n< PA 1 1 : hello\n< PA 1 1 : hello\n< PA 1 1 : hello\n> A 1 6\n" + _LOST,
        ),
        (
            "an old ACK within the window",
            "open\n! write hello\n< PA 1 1 : hello\n> A 1 6\n> PA 1 1 : world\n< A 6 6\n= data world\n"
            "> R 6\n= lost ConnectionLost",
        ),
        (
            "an ACK older than the window",
            "open\n! write hello\n< PA 1 1 : hello\n> A 1 6\n> PA 1 -70000 : world\n< A 6 1\n" + _LOST,
        ),
        (
            "SACK is not agreed on, and blocks come",
            _PLAIN
            + "! write x*3000\n"
            + _segments(0, 2)
            + "> A 1 1 <nop nop sack=1001-2001>\n~ 0.02\n> A 1 3001\n"
            + _LOST,
        ),
        (
            "the peer closes while data waits",
            "open w0\n! write hello\n< A 0 1\n> FA 1 1 w0\n= lost ConnectionDone\n< A 1 2\n"
            "> A 2 1 w9000\n< FPA 1 2 : hello\n> A 2 7",
        ),
    )
]

LOSS = [
    talk(f"loss: {name}", text)
    for name, text in (
        (
            "three duplicates",
            _PLAIN
            + "! write x*13000\n"
            + _segments(0, 9)
            + "> A 1 1\n"
            + _segments(10, 10)
            + "> A 1 1\n"
            + _segments(11, 11)
            + "> A 1 1\n"
            + _segments(0, 0)
            + "> A 1 12001\n"
            + _segments(12, 12)
            + _LOST,
        ),
        (
            "SACK: three blocks",
            _SACK
            + "! write x*10000\n"
            + _segments(0, 9)
            + "> A 1 1 <nop nop sack=1001-2001>\n> A 1 1 <nop nop sack=1001-3001>\n~ 0.01\n"
            "> A 1 1 <nop nop sack=1001-4001>\n" + _segments(0, 0) + "> A 1 10001\n" + _LOST,
        ),
        (
            "SACK: two holes",
            _SACK
            + "! write x*10000\n"
            + _segments(0, 9)
            + "> A 1 1 <nop nop sack=1001-2001,3001-10001>\n"
            + _segments(0, 0)
            + _segments(2, 2)
            + "> A 1 10001\n"
            + _LOST,
        ),
        (
            "SACK: blocks that cannot be",
            _SACK
            + "! write x*3000\n"
            + _segments(0, 2)
            + "> A 1 1 <nop nop sack=50001-60001>\n> A 1 1 <nop nop sack=2001-1001>\n> A 1 3001\n"
            + _LOST,
        ),
        (
            "all is lost",
            _SACK + "! write x*3000\n" + _segments(0, 2) + _segments(2, 2) + _segments(0, 0) + "> A 1 3001\n" + _LOST,
        ),
    )
]

FIN = [
    talk(
        "sending: data and the FIN are lost",
        """
        open
        ! write hello
        ! close
        < PA 1 1 : hello
        = lost ConnectionDone
        < FA 6 1
        < FPA 1 1 : hello
        > R 1
        """,
    )
]

CONVERSATIONS = [*FIN, *SENDING, *LOSS]
