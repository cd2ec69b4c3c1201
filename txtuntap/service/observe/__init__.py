"""
Ways to observe a running service: its control socket and its metrics.
"""
