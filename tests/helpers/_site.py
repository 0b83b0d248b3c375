"""A site as a test looks at it: its files, and the addresses in a page."""

from __future__ import annotations

from html.parser import HTMLParser


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Links(HTMLParser):
    """Every address in a page, and the ids that it can be reached by."""

    def __init__(self, text):
        super().__init__()
        self.found, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.found += [known[name] for name in ("href", "src") if name in known]
        self.ids |= {known["id"]} if "id" in known else set()
