"""The bed: a real Kubernetes API server and real control planes as processes on loopback, for labs and tests."""
