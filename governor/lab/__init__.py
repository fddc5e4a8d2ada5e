"""The mesh in a box: real Envoy, services with finite capacity, open-loop load, faults."""
