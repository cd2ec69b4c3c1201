"""
The picture of the two ends of a device.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, MIDDLE, WIDTH, arrow, box, picture, rect, text

HEIGHT = 260

ABOUT = (
    "The kernel's end is on the left: ping, a browser and curl use the kernel's IP stack with the address 10.0.0.1,"
    " which has the interface tun0. Your end is on the right: a Twisted program has a TuntapPort, and above it a stack"
    " with the address 10.0.0.2. The device tun0 is between both. What enters at one end leaves at the other."
)


def draw() -> str:
    """
    Draw the kernel's end and the program's end of a tun.
    """
    parts = [
        rect("clear", 0, 0, WIDTH // 2, HEIGHT),
        rect("sealed", WIDTH // 2, 0, WIDTH // 2, HEIGHT),
        text(20, 24, "the kernel's end", more=BOLD),
        text(WIDTH - 20, 24, "your end", more=BOLD + ' text-anchor="end"'),
        *box(20, 44, 260, 34, "ping, a browser, curl"),
        *box(20, 112, 260, 34, "the kernel's IP stack: 10.0.0.1"),
        *box(20, 180, 260, 34, "the interface tun0 (ip link, ip address)"),
        *box(480, 44, 260, 34, "Twisted protocols", name="ours"),
        *box(480, 112, 260, 34, "your layers or your Host: 10.0.0.2", name="ours"),
        *box(480, 180, 260, 34, "TuntapPort, on the reactor", name="ours"),
        *box(330, 170, 100, 54, "the device", "tun0"),
    ]
    for x in (150, 610):
        parts += [arrow((x - 20, 78), (x - 20, 112)), arrow((x + 20, 112), (x + 20, 78))]
        parts += [arrow((x - 20, 146), (x - 20, 180)), arrow((x + 20, 180), (x + 20, 146))]
    for left, right in ((280, 330), (430, 480)):
        parts += [arrow((left, 190), (right, 190)), arrow((right, 204), (left, 204))]
    parts.append(text(WIDTH // 2, 248, "What enters at one end leaves at the other.", more=MIDDLE))
    return picture(HEIGHT, "The two ends of a device", ABOUT, parts)
