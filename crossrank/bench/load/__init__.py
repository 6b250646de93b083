"""Load tests: traffic on a server, and the highest rate that it carries within a latency objective."""
