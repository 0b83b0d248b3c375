"""Hostile texts: each sets `window.__xss` or raises a dialog when a page takes it for markup or script."""

from __future__ import annotations

_MARK = "(window.__xss=window.__xss||[]).push({})"


def corpus():
    """About twenty ways to leave the text that one stands in."""
    marks = iter(range(100))

    def mark():
        return _MARK.format(next(marks))

    return [
        f"<script>{mark()}</script>",
        f"</script><script>{mark()}</script>",
        f"</ScRiPt ><script>{mark()}</script>",
        f"<!--<script>{mark()}</script>-->",
        f"<!-- <script> {mark()}",
        f'"><img src=x onerror="{mark()}">',
        f"'><img src=x onerror='{mark()}'>",
        f'" onmouseover="{mark()}" onfocus="{mark()}" autofocus x="',
        f"<svg onload={mark()}>",
        f"<svg><script>{mark()}</script></svg>",
        f"<iframe srcdoc='<script>parent.{mark()}</script>'>",
        f"<details open ontoggle={mark()}>",
        f"<body onload={mark()}>",
        f'<a href="javascript:{mark()}">x</a>',
        f"javascript:{mark()}",
        f"\u2028{mark()}\u2029//",
        f"*/{mark()}/*",
        f"';{mark()};//",
        f'";{mark()};//',
        f"</style><script>{mark()}</script>",
        f"</title></textarea><script>{mark()}</script>",
        f"<math><mtext></mtext><mglyph><style><img src=x onerror={mark()}></style></mglyph></math>",
        f"]]><script>{mark()}</script>",
        f"{{{{ ''.__class__ }}}}{{% raw %}}<script>{mark()}</script>",
        f"datum['x']+{mark()}",
        "<base href='http://127.0.0.1:1/'><meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
        "__proto__",
        "constructor",
        "]['x\\u0027",
        "\ufeff\u202etxet\u0000\u0007",
    ]
