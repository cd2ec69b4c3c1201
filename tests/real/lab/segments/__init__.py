"""
Conversations in TCP segments: what a forged peer sends, and what a host answers, line by line.

    > S 0 <mss sok>             the peer sends: flags, sequence number, options
    < SA 0 1 <mss nop nop sok>  the host answers: flags, sequence and acknowledgment number, options
    > PA 1 1 : hello            data stands behind a colon; x*1000 is a thousand octets x
    = data hello                its application is told something
    ! write x*100               its application does something: see L{tests.real.lab.segments.actors}
    ~ 0.6                       nothing is sent for so many seconds
    * port 1                    an ICMP error about what the host has sent with this sequence number
    open                        the same as the handshake, with these options
    reopen                      the host's first sequence number is another one from now on

A segment with C{, to all} behind it is in a broadcast frame. A line with C{L} or C{H} before it is for Linux or for a
L{Host<txtuntap.stack.host.Host>} only. Sequence numbers are relative to the first of their side. A timestamp in an
answer is the one that it echoes, relative to the peer's, and the peer echoes the host's latest. C{mss} without a
number is what the link takes. Windows are told where they are 0: their size depends on memory. A window scale of the
host's is told without its number for the same reason.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Conversation:
    """
    One conversation.

    @ivar lines: those of the text, without what is empty.
    @ivar port: the host's port.
    @ivar versions: the versions of IP that it is held over.
    @ivar difference: what C{docs/input.md} calls it, if Linux and a host do not do the same.
    """

    name: str
    lines: tuple[str, ...]
    port: int
    versions: tuple[int, ...]
    difference: str

    def of(self, side: str) -> list[str]:
        """
        The lines for one side.

        @param side: C{"L"} or C{"H"}.
        """
        found: list[str] = []
        for line in self.lines:
            if line[:1] in "LH" and line[1:2] in "<=>!~* ":
                if line[0] != side:
                    continue
                line = line[1:].strip()
            found += _opening(line) if line.split()[0] == "open" else [line]
        return found

    @property
    def differs(self) -> bool:
        """
        Whether there is a line for one side only.
        """
        return self.of("L") != self.of("H")


def _opening(line: str) -> list[str]:
    """
    The lines of a handshake.
    """
    options = line.split()[1:]
    times = "ts" in options
    said, answered = ["mss"], ["mss"]
    if times:
        said += ["sok", "ts=0"]
        answered += ["sok", "ts=0"]
    elif "sok" in options:
        said += ["nop", "nop", "sok"]
        answered += ["nop", "nop", "sok"]
    if "ws" in options:
        said += ["nop", "ws=2"]
        answered += ["nop", "ws"]
    window = "".join(f" {each}" for each in options if each.startswith("w") and each != "ws")
    stamp = " <nop nop ts=1>" if times else ""
    return [
        f"> S 0 <{' '.join(said)}>",
        f"< SA 0 1 <{' '.join(answered)}>",
        f"> A 1 1{window}{stamp}",
        "= made",
    ]


#: The end of a line whose segment is sent in a broadcast frame.
TO_ALL = ", to all"

#: Ports of the host: an application that does what it is asked to, one that may be closed by halves, and none.
ACTOR, HALF, CLOSED = 1010, 1011, 9


def talk(
    name: str, text: str, difference: str = "", port: int = ACTOR, versions: tuple[int, ...] = (4, 6)
) -> Conversation:
    """
    Make a conversation of its text.
    """
    lines = tuple(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return Conversation(name, lines, port, versions, difference)
