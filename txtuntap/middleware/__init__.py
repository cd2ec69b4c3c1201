"""
Protocols that go around another one, between it and its port. Middleware is a port to the protocol, and a protocol to
the port, so several can be stacked.

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
