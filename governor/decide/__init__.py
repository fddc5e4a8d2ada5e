"""Typed knob proposals from frames, beliefs and policies: one file a knob, one formula in its docstring."""
