"""The configuration subsystem: layers, validation, and the live snapshot."""
