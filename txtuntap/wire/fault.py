"""
The faults that parsers find in packets.
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """
    A reason why a packet cannot be processed, or must not be processed. Its value is the text for an exception.
    """

    HEADER = "a header is malformed"
    OPTION = "an option is malformed, or is unknown and asks for an error"
    SOURCE_ROUTE = "the packet asks to be forwarded along a source route"
    OFFLOAD = "the offload record contradicts the packet"
    UNKNOWN_OFFLOAD = "the offload record is of an unknown type"
