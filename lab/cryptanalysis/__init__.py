"""Attacks on keystream networks cut off after their first layers: what falls, and what stands."""
