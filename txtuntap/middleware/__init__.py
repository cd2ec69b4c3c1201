"""
What goes around a protocol, between it and its port, and is to both what the other is: so several can be stacked.

    TuntapPort("tap0", Meter(host.ethernet))
"""

from txtuntap.middleware.capture import Capture
from txtuntap.middleware.capturesink import CaptureFile, CaptureSink, CaptureStream

__all__ = ["Capture", "CaptureFile", "CaptureSink", "CaptureStream"]
