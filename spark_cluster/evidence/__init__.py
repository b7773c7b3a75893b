"""What `evidence` gathers: the items of a host, the script that collects them, what is blacked out,
and the index page. Pure; runner/evidence.py does the work."""
