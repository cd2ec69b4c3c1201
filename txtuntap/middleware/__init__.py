"""
Middleware sits between a port and the protocol on it. To the protocol it is a port, and to the port it is a protocol,
so several can be stacked. Each one captures, counts or impairs the packets that pass it::

    TuntapPort("tap0", Meter(Impairment(host.ethernet, Netem(loss=0.01))))
"""

from txtuntap.middleware.base import Middleware
from txtuntap.middleware.capture import Capture
from txtuntap.middleware.capturesink import CaptureFile, CaptureSink, CaptureStream
from txtuntap.middleware.impairment import Impairment
from txtuntap.middleware.meter import Meter
from txtuntap.middleware.netem import GEModel, Netem

__all__ = [
    "Capture",
    "CaptureFile",
    "CaptureSink",
    "CaptureStream",
    "GEModel",
    "Impairment",
    "Meter",
    "Middleware",
    "Netem",
]
