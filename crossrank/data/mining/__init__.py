"""Mining of (docstring, function) pairs from Python source trees."""
