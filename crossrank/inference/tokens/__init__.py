"""From texts to token ids, in bounded time and memory."""
