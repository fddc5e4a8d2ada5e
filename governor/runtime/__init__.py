"""What turns one cycle into a service: schedule, health, metrics, logs, and the parts that settings name."""
