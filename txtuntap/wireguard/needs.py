"""
The ciphers that WireGuard takes from C{cryptography}, which the extra C{wireguard} installs.
"""

from __future__ import annotations

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
except ImportError as e:
    raise ImportError(f"WireGuard needs more: pip install cryptography ({e})") from e

__all__ = ["ChaCha20Poly1305", "InvalidTag", "X25519PrivateKey", "X25519PublicKey"]
