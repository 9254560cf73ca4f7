"""How a result was asked, in some of the few words that say how it was scored.

`chat:1a2b3c4d` is a conversation, `text:1a2b3c4d` plain text with a system prompt or a cut thinking part; the digest is
of the template's text and all that is set beside it. Plain text alone has no word. Results that differ in these words
alone may be one study, of base models against chat models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_CHAT, _TEXT = _BEGIN = ("chat:", "text:")


def asked_word(settings: Mapping[str, Any]) -> str | None:
    """The word of a result; None where it was asked in plain text.

    Args:
        settings: The result's; see `records.TaskResult`.
    """
    said = dict(settings.get("chat") or {})
    template = settings.get("chat_template_sha256")
    if not said:
        return None
    if template is None:
        said = {key: said[key] for key in ("system", "think_end") if key in said}
    said.pop("template", None)
    if template is None and not said:
        return None
    content = json.dumps([template, said], sort_keys=True)
    return (_TEXT if template is None else _CHAT) + hashlib.sha256(content.encode()).hexdigest()[:8]


def generation_words(generation: Mapping[str, Any]) -> list[str]:
    """How texts were drawn, where tasks' files do not say it: `samples=8`, `max-gen-toks=32`.

    Args:
        generation: What a run set; see `records.TaskResult`, settings.
    """
    return [f"{name.replace('_', '-')}={value}" for name, value in sorted(generation.items())]


def without_asked(label: str) -> str:
    """How a result was scored, without how it was asked."""
    return " ".join(word for word in label.split(" ") if not word.startswith(_BEGIN))


def asked_how(label: str) -> str:
    """How a result was asked, in words for people."""
    word = next((word for word in label.split(" ") if word.startswith(_BEGIN)), None)
    if word is None:
        return "as plain text"
    kind, _, digest = word.partition(":")
    return f"by a chat template ({digest})" if f"{kind}:" == _CHAT else f"as plain text, set otherwise ({digest})"
