"""Run a plan: a thread per host, the lock, the journal, the network guard, Ctrl-C."""
