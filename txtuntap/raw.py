"""
The interfaces of C{twisted.pair.raw}, importable from here under the same names.
"""

from txtuntap.interfaces import IRawDatagramProtocol, IRawPacketProtocol

__all__ = ["IRawDatagramProtocol", "IRawPacketProtocol"]
