"""
The states of a connection (RFC 9293 section 3.3.2), and the reasons for which one ends.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """
    The states of RFC 9293 section 3.3.2 that a connection object has.
    """

    CLOSED = "CLOSED"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    # Enum's own is a function in Python, and each segment asks which states its connection's is among.
    __hash__ = object.__hash__


class End(Enum):
    """
    Why a connection is no more.
    """

    DONE = "both sides have closed it"
    REFUSED = "the peer refused it"
    RESET = "the peer has reset it"
    TIMED_OUT = "the peer does not answer"
    ABORTED = "we have reset it"


#: States in which data can be sent, and those in which it can come.
SENDING = frozenset((State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK))
RECEIVING = frozenset((State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2))
OPENING = frozenset((State.SYN_SENT, State.SYN_RECEIVED))
#: States that count as established (RFC 4022, tcpCurrEstab).
ESTABLISHED = frozenset((State.ESTABLISHED, State.CLOSE_WAIT))
