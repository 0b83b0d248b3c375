"""What every page that we write shares: templates that escape, data that cannot end its script, and the policy.

Results are untrusted input. Text goes into a page through Jinja's autoescape or as JSON that scripts read back and set
as text; scripts and styles are ours alone, each named by its digest in a Content-Security-Policy that allows no
network, so that markup which slipped through would still not run.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from backends.install import install_hint
from harness.errors import UserError
from harness.records.text import visible
from harness.web import palette

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

# Inside a script element only these can end it or change how it is read (HTML standard, "script data state").
_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@cache
def environment() -> jinja2.Environment:
    """The templates of `harness/web/assets`, with autoescape on; a name that a template lacks is an error."""
    try:
        import jinja2
    except ImportError:
        raise UserError(f"pages need Jinja2, which is not installed; try: {install_hint('report')}") from None
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harness.web", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """What a template prints: texts without invisible characters; our own markup, scripts and styles as they are."""
    return visible(value) if type(value) is str else value


@cache
def asset(name: str) -> str:
    """The text of a file of `harness/web/assets`."""
    return (files("harness.web") / "assets" / name).read_text(encoding="utf-8")


@cache
def stylesheet() -> str:
    """The one stylesheet of all pages: `style.css` and the classes of the tax scale."""
    return asset("style.css") + palette.stylesheet()


def embed(data: Any) -> Markup:
    """`data` as JSON for a `<script type="application/json">`: nothing in it can end the element."""
    from markupsafe import Markup

    text = msgspec.json.encode(data).decode()
    for char, escaped in _IN_SCRIPT.items():
        text = text.replace(char, escaped)
    return Markup(text)


def inline(text: str) -> Markup:
    """A script or stylesheet of ours, to stand in its element as it is; ValueError where it would end the element."""
    from markupsafe import Markup

    if "</script" in text.lower() or "</style" in text.lower() or "<!--" in text:
        raise ValueError("an inline asset must not hold the end of its own element")
    return Markup(text)


def policy(*, scripts: tuple[str, ...] = (), styles: tuple[str, ...] = (), own_files: bool = False) -> str:
    """A Content-Security-Policy that runs exactly these inline texts and, where asked, files beside the page.

    Nothing is fetched from elsewhere, nothing is sent, no frame, plugin, form target or base address is allowed.
    """
    beside = ("'self'",) if own_files else ()
    rules = {
        "default-src": ("'none'",),
        "script-src": (*beside, *map(_digest, scripts)) or ("'none'",),
        "style-src": (*beside, *map(_digest, styles)) or ("'none'",),
        "img-src": (*beside, "data:"),
        "base-uri": ("'none'",),
        "form-action": ("'none'",),
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in rules.items())


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
