"""What evalrun asks of OmegaConf's nodes that has no public name: an upgrade that changes it breaks this file alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf, StringNode


def node_of(container: Any, key: str) -> Any:
    """The node of a key, where `container[key]` is its value."""
    return container._get_node(key)


def nodes(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a structured config with its node, `analysis` before `analysis.alpha`."""
    for key in schema:
        node = node_of(schema, key)
        yield f"{prefix}{key}", node
        if is_section(node):
            yield from nodes(node, f"{prefix}{key}.")


def is_section(node: Any) -> bool:
    """Whether a node has keys of its own."""
    return OmegaConf.is_dict(node) and not node._is_none() and not node._is_missing()


def is_text(node: Any) -> bool:
    """Whether a node holds text, alone or in a list."""
    return isinstance(node, StringNode) or getattr(node._metadata, "element_type", None) is str


def is_optional(node: Any) -> bool:
    """Whether null is a value of a node."""
    return bool(node._is_optional())
