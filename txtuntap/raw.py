"""
The raw interfaces, under the name that C{twisted.pair} has them by.
"""

from txtuntap.interfaces import IRawDatagramProtocol, IRawPacketProtocol

__all__ = ["IRawDatagramProtocol", "IRawPacketProtocol"]
