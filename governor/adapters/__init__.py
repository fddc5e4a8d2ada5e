"""The only place that talks to the world: metric sources, control planes, the ledger, manifests."""
