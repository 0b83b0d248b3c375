"""The one kind of error that a user is meant to read: one sentence with what, where and what to do."""


class UserError(Exception):
    """Bad input or a place that cannot be used; exit code 2 and no traceback."""
