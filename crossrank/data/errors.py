"""What is raised for judged data that cannot be used."""


class JudgementsError(ValueError):
    """Judged data that cannot be used: one sentence that begins with `path:` or `path:line:`."""
