"""The reconnect subsystem: when to dial again."""
