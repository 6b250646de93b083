"""The front door: the `crossrank` command and the clients. Importing it imports nothing."""
