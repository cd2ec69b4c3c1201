"""
The picture of a switch with VLANs.
"""

from __future__ import annotations

from docs.pictures.drawing import box, line, picture, rect, text

HEIGHT = 300

ABOUT = (
    "A switch with four ports. The ports of tap0 and tap1 are in VLAN 10, and that of tap2 is in VLAN 20. The fourth"
    " port is a trunk, a tunnel that carries both VLANs with tags to another switch. Frames of VLAN 10 pass between"
    " tap0, tap1 and the trunk. Frames of VLAN 20 pass between tap2 and the trunk."
)


def draw() -> str:
    """
    Draw a switch, with the VLANs of its ports.
    """
    parts = box(20, 120, 720, 60, "Switch", "learns, for each VLAN, which station is behind which port", name="ours")
    ports = ((20, "tap0", "vlan=10", "clear"), (200, "tap1", "vlan=10", "clear"), (380, "tap2", "vlan=20", "sealed"))
    for x, name, vlan, color in ports:
        parts.append(rect(color, x, 20, 160, 80, 5))
        parts += box(x + 20, 34, 120, 28, name)
        parts += [text(x + 80, 84, vlan, more=' text-anchor="middle"'), line((x + 80, 62), (x + 80, 70))]
        parts.append(line((x + 80, 88), (x + 80, 120)))
    parts += [rect("clear", 560, 20, 180, 40, 5), rect("sealed", 560, 60, 180, 40, 5)]
    parts += box(580, 34, 140, 28, "a tunnel")
    parts += [text(650, 84, "trunk=10+20", more=' text-anchor="middle"'), line((650, 88), (650, 120))]
    parts += box(20, 224, 340, 44, "VLAN 10: tap0, tap1, and", "with tag 10 on the trunk")
    parts += box(400, 224, 340, 44, "VLAN 20: tap2, and", "with tag 20 on the trunk")
    parts += [line((190, 180), (190, 224)), line((570, 180), (570, 224))]
    return picture(HEIGHT, "A switch with VLANs", ABOUT, parts)
