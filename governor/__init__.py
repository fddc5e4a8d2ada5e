"""Mesh governor: a careful outer loop that keeps a service mesh's traffic knobs right."""
