"""Recorded sessions served again over the wire protocol that they were recorded from."""
