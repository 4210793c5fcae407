"""The explorer's page: a template, its style and script, Plotly and the data in one HTML file that asks for nothing."""

import hashlib
import json
import re
from pathlib import Path

ASSETS = Path(__file__).parent
NAMES = ("template.html", "page.css", "page.js")
# in JSON these stand for themselves inside texts only, so an escape changes no value
UNSAFE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def assets_digest():
    """SHA-256, 16 digits, of the files that are embedded beside the data."""
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(hashlib.sha256((ASSETS / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def embed_json(content):
    """JSON that cannot end the script element it stands in, whatever its texts hold.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(UNSAFE)


def size_of(content):
    """Bytes that plain values take in the page."""
    return len(embed_json(content).encode())


def assets_size():
    """Bytes of the page beside the data."""
    return len(assemble({}).encode())


def assemble(content):
    """The whole page as text.

    Args:
        content: of :func:`geoprobe.explorer.data.prepare`.
    """
    from plotly.offline import get_plotlyjs  # not at the head: the rules read this module for its digest alone

    template, style, script = ((ASSETS / name).read_text(encoding="utf-8") for name in NAMES)
    parts = {"STYLE": style, "PLOTLY": get_plotlyjs(), "DATA": embed_json(content), "SCRIPT": script}
    # in one pass, so that no mark inside a part is taken for one of the template
    return re.sub("@@([A-Z]+)@@", lambda mark: parts[mark[1]], template)
