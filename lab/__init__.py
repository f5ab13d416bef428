"""Offline work: training keystream networks and measuring them; no live program imports it."""
