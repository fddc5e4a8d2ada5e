"""How good the learned parts are on data that others labelled: `scripts/evaluate`."""
