"""Text as it was typed: Hydra reads `path=1.10` as the number 1.1, `2024_11_28` as 20241128 and `true` as a boolean.

What stands for text is put in quotes before Hydra reads it; what Hydra reads as that text anyway stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any

import yaml
from antlr4 import InputStream
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.grammar.gen.OverrideLexer import OverrideLexer as Lexer
from omegaconf import OmegaConf

from evalrun.config import omegaconf_private
from evalrun.config.schema import Config, at_home

FOLDERS = ("model.path", "model.tokenizer", "model.base", "data_dir", "tracking.root", "scorer.cache")
NAMED = (
    *("task", "tasks", "model", "checkpoint", "scorer", "profile", "generation", "chat", "tracking", "analysis"),
    "experiment",
)
_PARAMS = "hydra.sweeper.params."
_STEPS = "checkpoint.steps"  # as a mapping, step: name
_READ_OTHERWISE = {Lexer.INT, Lexer.FLOAT, Lexer.BOOL, Lexer.NULL}
_NUMBERS = ("glob", "range", "interval", "int", "float", "bool", "json_str")  # functions whose arguments are no text
_OPENING = {Lexer.POPEN: "(", Lexer.BRACKET_OPEN: "[", Lexer.BRACE_OPEN: "{"}
_CLOSING = (Lexer.PCLOSE, Lexer.BRACKET_CLOSE, Lexer.BRACE_CLOSE)


@cache
def text_keys() -> dict[str, bool]:
    """Keys of the configuration that hold text, alone or in a list; whether null is a value of theirs."""
    keys = {
        key: omegaconf_private.is_optional(node)
        for key, node in omegaconf_private.nodes(OmegaConf.structured(Config))
        if not omegaconf_private.is_section(node) and omegaconf_private.is_text(node)
    }
    return keys | dict.fromkeys(NAMED, False) | {"experiment": True}


def quoted(text: str) -> str:
    """A text in Hydra's quotes."""
    return str(QuotedString(text=text, quote=Quote.single).with_quotes())


def element(value: Any) -> str:
    """One value of an override as a word of Hydra's grammar that is read as this value again."""
    if isinstance(value, QuotedString):
        return str(value.with_quotes())
    if isinstance(value, str):
        return value if _is_plain(value) else quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{element(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(element, value)) + "]"
    return str(value)


def spelt(key: str, value: str, is_read: Callable[[str], bool]) -> str:
    """The value of an override as Hydra is to read it.

    Args:
        key: In full, such as model.path.
        value: As typed; sweeps, lists and functions are Hydra's, and stay.
        is_read: Whether Hydra's grammar takes a value.
    """
    if key in FOLDERS and (folder := _folder(key, value)) is not None:
        return folder
    if key not in text_keys() and key != _STEPS:
        return value
    if not is_read(value):
        closed = value[:1] not in tuple("'\"[{")
        return quoted(value) if key in text_keys() and key not in NAMED and value and closed else value
    return _marked(key, value)


@lru_cache(maxsize=200)  # of a file that is checked, and then read
def yaml_text(text: str, package: str) -> str:
    """A YAML file of the user's with quotes around what stands where text is expected.

    YAML reads `1e3`, `1.10`, `2024_11_28`, `0x10`, `1:30` as numbers, `on` and `no` as booleans. null stays null.

    Args:
        text: The file's.
        package: The key that its own keys lie below, such as model; empty for none.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    parts, at = [], 0
    for node in sorted(_text_nodes(yaml.compose(text, yaml.SafeLoader), package), key=lambda n: n.start_mark.index):
        end = node.end_mark.index
        start = end - len(node.value)
        if start >= at and text[start:end] == node.value:  # on one line, and once where an alias repeats it
            is_anchored = start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-_")  # &a:b
            parts += [text[at:start], " " if is_anchored else "", "'" + node.value.replace("'", "''") + "'"]
            at = end
    return "".join([*parts, text[at:]])


def _text_nodes(node: Any, key: str) -> Iterator[Any]:
    """The plain scalars that are text to the configuration."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            inner = f"{key}.{name.value}".lstrip(".")
            yield from _text_nodes(value, key if key == _STEPS and name.tag.endswith(":int") else inner)
    elif isinstance(node, yaml.SequenceNode):
        if key != _STEPS:
            for value in node.value:
                yield from _text_nodes(value, key)
    elif isinstance(node, yaml.ScalarNode) and node.style is None and node.value and _is_text(node, key):
        yield node


def _is_text(node: Any, key: str) -> bool:
    if key.startswith(_PARAMS):  # the values of overrides
        return True
    return (key in text_keys() or key == _STEPS) and not node.tag.endswith(":null")


def _folder(key: str, value: str) -> str | None:
    """A folder, or several, in quotes, if its name holds what Hydra's grammar would read as its own."""
    if not set(value) & set("={}[](),~'\"\\") or value[:1] in ("'", '"'):
        return None
    if _is_folder(value):
        return quoted(value)
    if not set(value) & set("={}[](),~'\""):  # a backslash before something that Hydra would read as its own
        return None
    several = value.split(",")
    if len(several) > 1 and not set(value) & set("{}[]()'\"") and all(map(_is_folder, several)):
        return ",".join(map(element, several))
    if set(value) & set("'\"[](),"):
        return None
    return quoted(value)


def _is_folder(path: str) -> bool:
    try:
        return at_home(path).is_dir()
    except (OSError, ValueError):  # a name too long
        return False


def _is_plain(text: str) -> bool:
    """Whether Hydra reads a text without quotes as this text."""
    tokens = _tokens(text)
    plain = {Lexer.ID, Lexer.UNQUOTED_CHAR, Lexer.INT, Lexer.FLOAT, Lexer.BOOL, Lexer.NULL, Lexer.COLON}
    if not tokens or "".join(token.text for token in tokens) != text or text.strip() != text:
        return False
    if len(tokens) == 1:
        return tokens[0].type in (Lexer.ID, Lexer.UNQUOTED_CHAR)
    return all(token.type in plain and token.text.strip() == token.text for token in tokens) and "\\" not in text


def _tokens(value: str) -> list[Any]:
    lexer = Lexer(InputStream(value))
    lexer.removeErrorListeners()
    lexer.mode(Lexer.VALUE_MODE)
    return list(lexer.getAllTokens())


def _marked(key: str, value: str) -> str:
    """The value with quotes around each number, boolean and null that stands where text is expected."""
    may_be_null = text_keys().get(key, False)
    value = value.strip()
    tokens = [token for token in _tokens(value) if token.type != Lexer.WS]
    inside: list[str] = []  # what is open: [, {, or the name of a function
    parts, at = [], 0
    for index, token in enumerate(tokens):
        before = tokens[index - 1].type if index else None
        after = tokens[index + 1].type if index + 1 < len(tokens) else None
        if token.type in _OPENING:
            inside.append(tokens[index - 1].text if token.type == Lexer.POPEN else _OPENING[token.type])
        elif token.type in _CLOSING and inside:
            inside.pop()
        elif (
            token.type in _READ_OTHERWISE
            and before in (None, Lexer.COMMA, *_OPENING, *([Lexer.COLON] if "{" in inside else []))
            and after in (None, Lexer.COMMA, *_CLOSING)
            and not (token.type == Lexer.NULL and may_be_null)
            and not any(name in _NUMBERS for name in inside)
            and (key != _STEPS or _names_a_step(tokens, index, inside))
        ):
            parts += [value[at : token.start], quoted(token.text)]
            at = token.stop + 1
    return "".join([*parts, value[at:]])


def _names_a_step(tokens: list[Any], index: int, inside: list[str]) -> bool:
    """Whether a token is the name in `{1000: name}`."""
    return inside == ["{"] and tokens[index - 1].type == Lexer.COLON and tokens[index - 2].type == Lexer.INT
