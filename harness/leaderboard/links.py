"""The names of the site's pages: digests and plain words only, so that no name of a stranger's becomes a path."""

from __future__ import annotations

import hashlib
import re


def submission_page(digest: str) -> str:
    """The name of a submission's page."""
    return f"submission-{digest[:32]}.html"


def machine_page(slug: str) -> str:
    """The name of a machine's page; the slug is a digest."""
    return f"{slug}.html"


CHIPS_PAGE = "chips.html"  # what was compiled for chips and not run


def campaign_page(slug: str) -> str:
    """The name of a campaign's page; the slug is a digest."""
    return f"campaign-{slug}.html"


def idea_page(workload: str, suffix: str = "html") -> str:
    """The name of an idea's page: its own where that is a plain word, else a digest of it."""
    plain_word = re.fullmatch(r"[a-z0-9_]{1,40}", workload)
    return f"idea-{workload if plain_word else hashlib.sha256(workload.encode()).hexdigest()[:24]}.{suffix}"
