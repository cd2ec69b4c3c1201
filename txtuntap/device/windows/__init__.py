"""
The devices of Windows: Wintun and tap-windows6. Run under Wine with fake drivers, not on a real Windows yet.
"""
