"""Where client and hub meet the process: the command line, the daemon, the demo."""
