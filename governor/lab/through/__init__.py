"""Where the Envoys of a lab have their configuration from: files of the lab's own, or a real control plane."""
