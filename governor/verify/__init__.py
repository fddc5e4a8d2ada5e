"""Whether a write did what it promised."""
