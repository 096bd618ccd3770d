"""The product: a realtime client of supervised subsystems, its hub, and the command line."""
