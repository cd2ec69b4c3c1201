from twisted.application.service import ServiceMaker

tuntap = ServiceMaker(
    "txtuntap",
    "txtuntap.service",
    "A host, a tunnel or a switch on network interfaces of one's own (TUN, TAP).",
    "tuntap",
)
