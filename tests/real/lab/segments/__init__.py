"""
A notation for conversations in TCP segments between a forged peer and a host. Each line is one segment or event.

    > S 0 <mss sok>             the peer sends a segment: flags, sequence number, options
    < SA 0 1 <mss nop nop sok>  the host answers: flags, sequence and acknowledgment number, options
    > PA 1 1 : hello            the data of a segment follow a colon; x*1000 is a thousand octets x
    = data hello                the host's application receives an event
    ! write x*100               the host's application makes a call: see L{tests.real.lab.segments.actors}
    ~ 0.6                       nothing is sent for this number of seconds
    * port 1                    the peer sends an ICMP error that quotes the segment with this sequence number
    open                        the lines of a handshake, with these options
    reopen                      the host begins with a new initial sequence number

A segment followed by C{, to all} is in a broadcast frame. A line that begins with C{L} or C{H} is for Linux or for a
L{Host<txtuntap.stack.host.Host>} only. Sequence numbers are relative to the first of their side. A timestamp in an
answer is the one that it echoes, relative to the peer's clock. The peer echoes the host's latest timestamp. C{mss}
without a number is the size that fits the link's MTU. The host's windows are only shown if they are 0, and its window
scale without its value, because both depend on memory.

Read RFC 9293 sections 3.4 and 3.10 first.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Conversation:
    """
    One conversation in the notation of this module.

    @ivar name: the conversation's name, which becomes part of the test's id.
    @ivar lines: the lines that are not empty.
    @ivar port: the host's TCP port; 0: the host connects.
    @ivar versions: the IP versions with which it is tested.
    @ivar difference: the name of the difference between Linux and a host in C{docs/input.md}; empty: there is none.
    """

    name: str
    lines: tuple[str, ...]
    port: int
    versions: tuple[int, ...]
    difference: str

    def of(self, side: str) -> list[str]:
        """
        Select the lines for one implementation, and expand C{open}.

        @param side: C{"L"} for Linux, C{"H"} for a host of this package.
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
        Whether the lines for Linux and for a host of this package differ.
        """
        return self.of("L") != self.of("H")


def _opening(line: str) -> list[str]:
    """
    Expand a line C{open} to the lines of a handshake.
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


#: The end of a line with a segment in a broadcast frame.
TO_ALL = ", to all"

#: The host's TCP ports: an application that obeys commands, one that also supports half-close, and a closed port.
ACTOR, HALF, CLOSED = 1010, 1011, 9


def talk(
    name: str, text: str, difference: str = "", port: int = ACTOR, versions: tuple[int, ...] = (4, 6)
) -> Conversation:
    """
    Make a conversation from its text.
    """
    lines = tuple(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return Conversation(name, lines, port, versions, difference)
