"""May it be published: every reason why not."""
