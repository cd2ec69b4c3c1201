from twisted.application.service import ServiceMaker

tuntap = ServiceMaker(
    "txtuntap",
    "txtuntap.service",
    "Network interfaces of one's own: a host on a TUN or TAP, a switch between TAPs.",
    "tuntap",
)
