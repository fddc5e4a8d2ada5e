"""What may go now, and what is held and why."""
