"""Who may call: keys, what each of them may take, and certificates."""
