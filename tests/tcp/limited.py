"""
A host whose TCP layer has some bounds, for the tests of these bounds.
"""

from __future__ import annotations

from tests.tcp.rawpeer import RawPeer
from txtuntap.tcp import Limits, TCPProtocol


def peerWith(**limits: int) -> RawPeer:
    """
    Make a host whose TCP layer has some bounds, and its peer.
    """
    return RawPeer(TCPProtocol(limits=Limits(**limits)))
