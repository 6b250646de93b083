"""A GPU by the minute: what travels there, what runs there, what comes back."""
