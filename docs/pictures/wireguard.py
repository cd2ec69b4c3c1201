"""
The picture of one interface of WireGuard and its peers.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, WIDTH, box, line, picture, rect, text

HEIGHT = 470

#: The text in place of the picture. The page has it, too, as the alternative text of the image.
ABOUT = (
    "A program has a Twisted service on a Host with the address 10.9.0.2. A Link joins the Host to the program's"
    " WireGuard, which sends by a UDP socket. This WireGuard has a private key and two peers. For each peer it has a"
    " public key, allowed networks and an endpoint. One peer is a machine, whose WireGuard is below its kernel, by the"
    " tun wg0. The other peer is a router with another implementation. IP packets above each WireGuard are in the"
    " clear. Messages below it, through the sockets and the internet, are sealed."
)


def draw() -> str:
    """
    Draw one interface of WireGuard in a program, and two of its peers.
    """
    boundary = 250
    parts = [
        rect("clear", 0, 28, WIDTH, boundary - 28),
        rect("sealed", 0, boundary, WIDTH, HEIGHT - boundary),
        text(12, 19, "one interface, in a program", more=BOLD),
        text(412, 19, "its peers", more=BOLD),
        text(12, 46, "in the clear: IP packets"),
        text(12, boundary + 76, "sealed: messages over UDP"),
    ]
    columns = (
        (12, 370, "Site, or any Twisted service", "Host, 10.9.0.2", "Link"),
        (412, 160, "every program", "kernel, 10.9.0.1", "tun wg0"),
        (588, 160, "hosts of 10.9.8.0/24", "a router", "wg0"),
    )
    for x, width, program, stack, below in columns:
        middle = x + width // 2
        parts.append(line((middle, 60), (middle, 402)))
        parts += box(x, 58, width, 30, program)
        parts += box(x, 110, width, 30, stack)
        parts.append(text(middle + 8, 170, below))
        parts += box(x, 344, width, 30, "UDP socket, port 51820" if x == 12 else "UDP socket")
    lines = [
        "WireGuard: its private key, and its peers",
        "public key xTIB…: 10.9.0.1/32, at 192.0.2.1:51820",
        "public key TrMv…: 10.9.8.0/24, at 198.51.100.7:51820",
    ]
    parts += box(12, 190, 370, 100, *lines, name="ours")
    for x, *_ in columns[1:]:
        parts += box(x, 190, 160, 100, "WireGuard", "public key HIgo…:", "10.9.0.2/32", name="ours")
    parts += box(
        12,
        402,
        736,
        48,
        "the internet",
        "It sees addresses, lengths and times of messages, and nothing of the packets.",
    )
    return picture(HEIGHT, "One interface of WireGuard and its peers", ABOUT, parts)
