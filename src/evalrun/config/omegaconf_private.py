"""What evalrun asks of OmegaConf's nodes that has no public name: an upgrade that changes it breaks this file alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from omegaconf import Container, OmegaConf, StringNode
from omegaconf._utils import get_omega_conf_dumper


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


def to_yaml(config: Container, resolve: bool = False, under: str | None = None) -> str:
    """The YAML text that OmegaConf makes of a config, written by libyaml where PyYAML has it: in a quarter of the time.

    Args:
        config: What to write.
        resolve: Whether each ${...} becomes what it stands for.
        under: A key to put it under.
    """
    plain: Any = OmegaConf.to_container(config, resolve=resolve, enum_to_str=True)
    plain = plain if under is None else {under: plain}
    return str(yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_dumper()))


@cache
def _dumper() -> Any:
    """OmegaConf's, which puts words that look like numbers in quotes, on the quicker writer."""
    own = get_omega_conf_dumper()
    quick = getattr(yaml, "CDumper", None)
    if quick is None:
        return own
    kept = ("yaml_representers", "yaml_multi_representers", "yaml_implicit_resolvers")
    return type("QuickDumper", (quick,), {name: getattr(own, name) for name in kept})
