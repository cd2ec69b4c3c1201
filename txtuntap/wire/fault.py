"""
Faults: the facts that keep a packet from being processed, as parsers find them.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """
    A reason why a packet cannot be processed, or must not be. Its value is a text for an exception.
    """

    HEADER = "a header cannot be as it is"
    OPTION = "an option cannot be as it is, or its sender wants to know that it is unknown here"
    SOURCE_ROUTE = "the packet asks to be forwarded along a route"
    OFFLOAD = "what is said to be left open in the packet cannot be"
    UNKNOWN_OFFLOAD = "what is left open in the packet is of an unknown type"
