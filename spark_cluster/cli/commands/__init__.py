"""One thin file per verb: options, the action, its view, the exit code."""
