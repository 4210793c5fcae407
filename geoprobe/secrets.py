"""What must not be told: tokens, keys and passwords, taken out of texts before they reach a log or a table.

Three things are looked for: the values of environment variables that are named like a secret, what an address carries
(a password before the host, a signature or key in the query), and tokens whose form is known. A word too many is taken
out rather than one too few.
"""

import os
import re

HIDDEN = "***"
SHORTEST = 8  # characters of a value of the environment that is looked for: shorter ones would hide plain words
NAMED = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|ACCESS_KEY_ID|PRIVATE_KEY)$", re.IGNORECASE)
FORMS = (
    # before the host of an address, up to the last @ (a password may hold one)
    (re.compile(r"(?<=://)[^\s/?#\"'<>]+@"), f"{HIDDEN}@"),
    # in its query: what servers call tokens, keys and signatures (Amazon, Google, Azure, Flickr and others)
    (
        re.compile(
            r"([?&;](?:[\w.-]|%2D)*(?:token|key|secret|passw|pwd|auth|credential|policy|signature|sig|ticket|session)"
            r"(?:[\w.-]|%2D)*=)[^&#;\s\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"(\bauthorization\b[\"']?\s*[:=]\s*[\"']?(?:b[\"'])?)(?:\w+ )?[^\s\"',]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(\bbearer )[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(hf_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,})\b"), HIDDEN),
)  # fmt: skip


def redact(text):
    """A text without the secrets in it, each replaced by ***."""
    values = {value for name, value in os.environ.items() if NAMED.search(name) and len(value) >= SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for form, replacement in FORMS:
        text = form.sub(replacement, text)
    return text


def redact_values(content):
    """The same content (mappings, lists, text and others, as JSON has them) with every text in it redacted."""
    if isinstance(content, dict):
        return {name: redact_values(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [redact_values(value) for value in content]
    return redact(content) if isinstance(content, str) else content
