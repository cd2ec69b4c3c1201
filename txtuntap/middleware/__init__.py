"""
What goes around a protocol, between it and its port, and is to both what the other is: so several can be stacked.

    TuntapPort("tap0", Meter(host.ethernet))
"""
