"""
What makes an IP layer a host: what it answers by itself.
"""
