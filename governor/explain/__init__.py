"""Decisions as people and programs read them; pure formatting, no I/O."""
