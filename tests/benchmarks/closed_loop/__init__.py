"""The governor against what people use today, in a mesh of real Envoys, on the same arrivals."""
