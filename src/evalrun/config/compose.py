"""Composing and typing: from overrides to a `Config`, through Hydra; the one place that opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from evalrun.config import own_yaml, validate
from evalrun.config.own_yaml import conf_dir
from evalrun.config.schema import Config, model_dirname, named, step_dirname
from evalrun.core.errors import ConfigError, first_line, suggest

CONFIG_NAME = "config"


def register() -> None:
    """Make the schema and the resolvers known to Hydra (idempotent)."""
    store = ConfigStore.instance()
    store.store(name="evalrun_schema", node=Config, provider="evalrun")
    OmegaConf.register_new_resolver("evalrun.seeded", model_dirname, replace=True)
    OmegaConf.register_new_resolver("evalrun.staged", step_dirname, replace=True)
    OmegaConf.register_new_resolver("evalrun.named", named, replace=True)


@contextmanager
def hydra_session() -> Iterator[None]:
    """Open Hydra on the shipped configs, unless it is open already (inside a sweep)."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


@contextmanager
def isolated_hydra() -> Iterator[None]:
    """Be able to open a `hydra_session` in a process that is a Hydra application of its own; that is put back."""
    if not GlobalHydra.instance().is_initialized():
        yield
        return
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)


@contextmanager
def own_hydra_session() -> Iterator[None]:
    """A `hydra_session` inside somebody's program, which may have Hydra open on configs of its own."""
    with isolated_hydra(), hydra_session():
        yield


def compose(overrides: list[str], partial: bool = False, name: str = CONFIG_NAME) -> DictConfig:
    """Compose a primary config inside a `hydra_session`.

    Args:
        overrides: Hydra overrides without sweeps.
        partial: Let mandatory groups, such as the model, be absent.
        name: Which primary config.

    Returns:
        The config, Hydra's own node included.

    Raises:
        ConfigError: files or overrides that do not go together; the cause is what Hydra raised.
    """
    mode = RunMode.MULTIRUN if partial else RunMode.RUN
    loader = GlobalHydra.instance().config_loader()
    try:
        return cast(DictConfig, loader.load_configuration(name, overrides, run_mode=mode))
    except Exception as error:  # of a dozen classes, its own, OmegaConf's, YAML's and Python's
        files = ", ".join(str(path) for path in dict.fromkeys(own_yaml.named(overrides)))
        raise ConfigError(f"{files + ': ' if files else ''}{type_sentence(error)}") from error


def to_config(cfg: DictConfig) -> Config:
    """Turn a composed config into typed values and check them, all at once.

    Raises:
        ConfigError: values of the wrong type, missing, or outside what is allowed, with the user's file that says so.
    """
    try:
        return _typed(cfg)
    except (OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(_with_file(cfg, type_sentence(error))) from None
    except ConfigError as error:
        raise ConfigError([_with_file(cfg, problem) for problem in error.problems]) from None


def _with_file(cfg: DictConfig, problem: str) -> str:
    """A sentence that begins with a key, after the name of the user's file that sets it."""
    key = problem.split(maxsplit=1)[0].strip("':,")
    typed_here = own_yaml.as_written(cfg, "hydra.overrides.task") or []
    if any(str(word).lstrip("+").startswith(f"{key}=") for word in typed_here):
        return problem
    files = own_yaml.saying(own_yaml.chosen(cfg), key)
    return f"{', '.join(map(str, files))}: {problem}" if files else problem


def _typed(cfg: DictConfig) -> Config:
    """The composed config in its types; see `to_config`.

    Raises:
        ConfigError: a key without a value, an unknown key, or a value that cannot be right.
    """
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    if OmegaConf.is_dict(plain.get("model")) and OmegaConf.is_missing(plain.model, "path"):
        raise ConfigError("no folder is given: name the one that holds your checkpoints with path=runs/my-model.")
    missing = sorted(str(key) for key in OmegaConf.missing_keys(plain))
    if missing:
        raise ConfigError([f"'{key}' has no value: set it with {key}=..." for key in missing])
    unknown = sorted(str(key) for key in plain if str(key) not in Config.__dataclass_fields__)
    if unknown:
        raise ConfigError([f"unknown key '{k}': {suggest(k, Config.__dataclass_fields__)}" for k in unknown])
    config = cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain)))
    found = list(validate.problems(config))
    if found:
        raise ConfigError(found)
    return config


def type_sentence(error: Exception) -> str:
    """What OmegaConf or Hydra says, with the key where there is one; Hydra may have wrapped it."""
    origin: BaseException = error
    if not isinstance(error, OmegaConfBaseException) and error.__cause__ is not None:
        origin = error.__cause__
    if isinstance(origin, RecursionError):
        return "the configuration holds a value that is made from itself: write it out."
    where = getattr(origin, "full_key", None) or "the configuration"
    if isinstance(origin, InterpolationResolutionError):
        return f"{where}: {first_line(origin)}; correct what it has in ${{...}}, or write the value."
    if first_line(origin).endswith("is not in struct"):
        return f"{where} is not there to be changed: add it with +{where}=VALUE."
    return f"{where}: {first_line(origin)}."
