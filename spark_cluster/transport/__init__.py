"""Ways to run a shell script on a host: over SSH, here, or in a test. Knows nothing of steps."""
