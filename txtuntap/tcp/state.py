"""
The states of a connection (RFC 9293 section 3.3.2), and the reasons for its end.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """
    The states of a connection object. LISTEN is missing, because a listening port is another object.
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

    # The __hash__ of Enum is a Python function, which is slow. Each segment looks its connection's state up in a set.
    __hash__ = object.__hash__


class End(Enum):
    """
    The reason for which a connection has ended.
    """

    DONE = "both sides have closed the connection"
    REFUSED = "the peer has refused the connection"
    RESET = "the peer has reset the connection"
    TIMED_OUT = "the peer has not answered in time"
    ABORTED = "this host has reset the connection"


#: The states in which data or a FIN can be sent, those in which data can be received, and those of the handshake.
SENDING = frozenset((State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK))
RECEIVING = frozenset((State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2))
OPENING = frozenset((State.SYN_SENT, State.SYN_RECEIVED))
#: The states that the counter C{currEstab} includes (tcpCurrEstab, RFC 4022).
ESTABLISHED = frozenset((State.ESTABLISHED, State.CLOSE_WAIT))
