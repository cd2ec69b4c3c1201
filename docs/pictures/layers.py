"""
The picture of the layers between a device and an application.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, arrow, box, picture, text

HEIGHT = 420

ABOUT = (
    "A packet climbs from the device to the TuntapPort, through middleware, on a tap through EthernetProtocol,"
    " through IPProtocol and RawUDPProtocol to a DatagramProtocol. An answer goes down by the transports of the same"
    " layers to the device. Beside IPProtocol are ARP and protocols of your own, by EtherType. Beside RawUDPProtocol"
    " are TCP, ICMP and protocols of your own, by IP protocol number."
)

_LAYERS = (
    ("DatagramProtocol", "the application, unchanged"),
    ("RawUDPProtocol", "by UDP port"),
    ("IPProtocol", "by IP protocol number; IPv4 and IPv6"),
    ("EthernetProtocol", "only on a tap: by EtherType, VLANs"),
    ("middleware", "capture, impairment, meter: none or several"),
    ("TuntapPort", "on the reactor"),
    ("device", "TUN or TAP of the platform, or in memory"),
)


def draw() -> str:
    """
    Draw the layers from the application down to the device.
    """
    parts = [
        text(20, 24, "up: packetReceived, datagramReceived", more=BOLD),
        text(330, 24, "down: transport.write", more=BOLD),
    ]
    for number, (name, what) in enumerate(_LAYERS):
        y = 40 + 54 * number
        parts += box(
            20, y, 420, 32, f"{name}: {what}", name="box" if name in ("DatagramProtocol", "device") else "ours"
        )
        if number:
            parts += [arrow((130, y), (130, y - 22)), arrow((330, y - 22), (330, y))]
    parts += box(500, 94, 240, 32, "TCP, ICMP, protocols of your own")
    parts += box(500, 148, 240, 32, "ARP, protocols of your own")
    parts += [arrow((440, 160), (470, 160), (470, 110), (500, 110))]
    parts += [arrow((440, 218), (470, 218), (470, 164), (500, 164))]
    return picture(HEIGHT, "The layers between a device and an application", ABOUT, parts)
