"""
The picture of a tunnel between two machines.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, WIDTH, arrow, box, picture, rect, text

HEIGHT = 330

ABOUT = (
    "Two machines, each with a kernel, a tun0 and a tunnel service. A packet from the kernel of the first machine, from"
    " 10.0.0.1 to 10.0.0.2, enters tun0. The service reads it, and sends it in a TLS connection between 192.0.2.1 and"
    " 192.0.2.2 over the internet. The other service checks it, and writes it to its tun0, where the kernel of the"
    " second machine receives it."
)


def draw() -> str:
    """
    Draw both ends of a tunnel with TLS.
    """
    parts = [rect("clear", 0, 0, WIDTH, 200), rect("sealed", 0, 200, WIDTH, HEIGHT - 200)]
    parts += [text(20, 22, "one machine", more=BOLD), text(440, 22, "the other machine", more=BOLD)]
    for x, inner in ((20, "10.0.0.1"), (440, "10.0.0.2")):
        parts += box(x, 36, 300, 32, f"programs, and the kernel's IP stack: {inner}")
        parts += box(x, 90, 300, 32, "the interface tun0")
        parts += box(x, 144, 300, 32, "twistd tuntap tunnel", name="ours")
        parts += box(x, 216, 300, 32, f"TLS over TCP: 192.0.2.{1 if x == 20 else 2}", name="ours")
    parts += [arrow((170, 68), (170, 90)), arrow((170, 122), (170, 144)), arrow((170, 176), (170, 216))]
    parts += [arrow((590, 216), (590, 176)), arrow((590, 144), (590, 122)), arrow((590, 90), (590, 68))]
    parts += box(20, 280, 720, 34, "the internet: it sees one TCP connection, and nothing of the packets")
    parts += [arrow((170, 248), (170, 280)), arrow((590, 280), (590, 248))]
    parts.append(text(600, 206, "filters: --allow"))
    return picture(HEIGHT, "A tunnel between two machines", ABOUT, parts)
