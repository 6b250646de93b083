"""One file for each dialect: what its clients send becomes a request of ours, and our response what they need."""
