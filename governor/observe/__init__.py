"""From samples to one frame: pure functions on arrays, no I/O and no clock."""
