"""Names that Kubernetes accepts, made from what systemd, container engines and processes are called."""

import re

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NO_LABEL = re.compile(r"[^a-z0-9]+")


def label(text: str) -> str:
    """A DNS label (RFC 1123): lower case, digits and `-`, at most 63. Container ids are cut to twelve digits,
    systemd's escapes (`\\x2d`) are read."""
    text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    text = _CONTAINER_ID.sub(lambda found: found[0][:12], text)
    return _NO_LABEL.sub("-", text.lower()).strip("-")[:63].strip("-") or "x"


def numbered(text: str, number: int) -> str:
    """A DNS label that ends with a number."""
    end = f"-{number}"
    return label(text)[: 63 - len(end)].strip("-") + end
