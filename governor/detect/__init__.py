"""Abnormal or only busy, and who is to blame: what the signals say before anything is decided."""
