"""What evalrun asks of OmegaConf's nodes that has no public name: an upgrade that changes it breaks this file alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_origin

import yaml
from omegaconf import Container, DictConfig, OmegaConf, StringNode
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


def is_free_mapping(node: Any) -> bool:
    """Whether a node is a mapping without a schema, or null where there may be one."""
    return OmegaConf.is_dict(node) and get_origin(node._metadata.ref_type) is dict


def is_text(node: Any) -> bool:
    """Whether a node holds text, alone or in a list."""
    return isinstance(node, StringNode) or getattr(node._metadata, "element_type", None) is str


def element_class(node: Any) -> type | None:
    """The dataclass whose values a list holds; None for any other node."""
    kind = getattr(node._metadata, "element_type", None) if OmegaConf.is_list(node) else None
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


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
    return _dumped(plain if under is None else {under: plain})


class YamlSections:
    """The text of `to_yaml`, again and again, of a config of which a few sections alone change.

    Args:
        changing: The keys of these sections.
        under: A key to put it under.
    """

    def __init__(self, changing: Collection[str], under: str | None = None) -> None:
        self._changing = changing
        self._under = under
        self._texts: dict[str, str] = {}

    def text(self, config: DictConfig) -> str:
        """The YAML of the config as it is now; what is in none of the changing sections, as it was at first."""
        plain = {key: _plain(node_of(config, key)) for key in self._changing} if self._texts else _plain(config)
        self._texts |= {key: self._section(key, value) for key, value in plain.items()}
        return ("" if self._under is None else f"{self._under}:\n") + "".join(self._texts.values())

    def _section(self, key: str, value: Any) -> str:
        """A key with its value, as far to the right as it stands in the whole."""
        if self._under is None:
            return _dumped({key: value})
        return _dumped({self._under: {key: value}}).partition("\n")[2]


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, enum_to_str=True) if OmegaConf.is_config(node) else node._value()


def _dumped(plain: Any) -> str:
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
