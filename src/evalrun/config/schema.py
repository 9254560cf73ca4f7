"""The typed shape of the configuration. Values live in conf/ alone; here are names, types and meanings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalrun.config import own_yaml
from evalrun.config.own_yaml import conf_dir as conf_dir
from evalrun.config.own_yaml import conf_dirs as conf_dirs
from evalrun.config.step_names import pattern_problem
from evalrun.config.step_numbers import UNITS
from evalrun.config.steps import released_steps
from evalrun.errors import ConfigError, first_line, nearest

CONFIG_NAME = "config"


@dataclass
class ModelConf:
    """One model of a suite (conf/model)."""

    name: str = MISSING  # as shown: pythia-70m
    path: str = MISSING  # hub repository, or local folder; may use {seed}
    n_params: int | None = None  # exact, embeddings included; null, here and below: counted from a checkpoint's files
    n_params_nonembedding: int | None = None
    n_params_nominal: int | None = None  # what the name says; null: n_params to two digits
    tokens_per_step: int | None = None  # where the models of a suite differ in it
    tokenizer: str | None = None  # folder or hub repository; null: the checkpoint's own
    architecture: dict[str, int] = field(default_factory=dict)  # only for models that `evalrun tiny` trains
    resources: dict[str, float] = field(default_factory=dict)  # cpus, gpus of a job, for the launchers ray and slurm


@dataclass
class CheckpointConf:
    """Which steps a suite released and how a step is found (conf/checkpoint)."""

    suite: str = MISSING  # names the MLflow experiments
    steps: Any = None  # released steps: numbers and {from, to, by}; or step: name; null: those that are there
    tokens_per_step: int | None = None  # null: the model's, else what names or the training's own records say
    revision: str | None = None  # hub: revision of a step, such as step{step}-tokens{tokens}
    unit: str | None = None  # local: what numbers in names count: steps, epochs, samples, tokens; null: as names say
    folder: str | None = None  # local: folder of a step inside model.path, such as step{step}; auto: what is there
    seed: int | None = None  # training seed, where a suite has several
    source: str | None = None  # where the suite is described
    checked: bool | None = None  # whether names and numbers were compared with the published repositories


@dataclass
class ScorerConf:
    """How log-likelihoods are computed (conf/scorer)."""

    name: str = MISSING
    dtype: str = MISSING  # auto: the checkpoint's own
    softmax_dtype: str | None = MISSING  # precision of the log-softmax; null: the model's
    device: str = MISSING  # auto: the first GPU, else the CPU; all: spread over every GPU
    batch_size: int = MISSING  # of lm-eval's own path
    token_budget: int = MISSING  # shared_prefix: tokens in one forward pass on a CPU
    token_budget_gpu: int = MISSING  # the same on a GPU; halved whenever its memory runs out
    cache: str | None = MISSING  # folder of what depends on tokenizer and tasks alone; null: not kept
    verify: int = MISSING  # shared_prefix: requests drawn at random to score again with lm-eval's own path
    logits_cache: bool = MISSING  # lm-eval's sharing of one-token choices
    bootstrap_iters: int = MISSING  # for standard errors that have no closed form
    encoding: str = MISSING  # joint: prompt and choice tokenised as one text, then split; separate: each alone
    tokens_by: str = MISSING  # file: a tokenizer follows its tokenizer.json; class: what transformers makes of it
    ties: str = "expected"  # expected: each of equal choices counts the same; first: the first of them wins
    allow_not_finite: float = 0.0  # share of a task's items that may lack a finite log-likelihood


@dataclass
class TrackingConf:
    """Where MLflow keeps results (conf/tracking)."""

    uri: str | None = MISSING  # null: SQLite under root
    root: str = MISSING  # folder of the local store
    upgrade: bool = False  # migrate a database of an older MLflow, which that one cannot open any more then


@dataclass
class AnalysisConf:
    """What is made of the results (conf/analysis)."""

    name: str = MISSING
    after_sweep: bool = MISSING  # run by itself after a multirun
    metric: str | None = MISSING  # null: each task's primary metric
    params: str = MISSING  # nominal, total or nonembedding: which count is the predictor
    axis: str = MISSING  # tokens or flops
    methods: list[str] = MISSING  # of the regression; the first is the headline
    corrections: list[str] = MISSING  # statsmodels' names of corrections for multiple tests; the first is the headline
    alpha: float = MISSING
    flat_within: float = MISSING  # a curve is called flat when it is shown to stay within this
    items: bool = MISSING  # read per-item results too: paired tests, continuous metrics
    draws: int = MISSING  # of each bootstrap and permutation test
    seed: int = MISSING  # of all of them


@dataclass
class WatchConf:
    """How a training run is watched (`evalrun watch`)."""

    poll_s: float = MISSING  # seconds between two looks at the run's folder
    command: str | None = None  # run when a task falls: JSON on its standard input, EVALRUN_* in its environment
    webhook: str | None = None  # address that the same JSON is posted to
    hook_s: float = MISSING  # time limit of either


@dataclass
class Config:
    """One job: one checkpoint, some tasks."""

    model: ModelConf = field(default_factory=ModelConf)
    checkpoint: CheckpointConf = field(default_factory=CheckpointConf)
    step: int = MISSING
    tasks: list[str] = MISSING
    profile: str = MISSING  # how tasks are rendered (conf/profile): corrected, as_published
    data_dir: str | None = None  # folder with local data files in the release format
    num_fewshot: int | None = None  # null: each task's own
    limit: int | None = None  # items per task, for trying out; null: all
    force: bool = False  # recompute what is there
    fail_fast: bool = False  # a sweep starts no more jobs once one has failed
    sweep: str | None = None  # which multirun this job belongs to; set by the sweeper
    heartbeat_s: float = MISSING  # seconds between a running job's signs of life
    trust_remote_code: bool = False  # run modelling code from the hub
    trust_pickle: bool = False  # load weights that are there as pickles only
    trust_task_code: bool = False  # run `!function` code named by task files outside lm-eval
    allow_other_folder: bool = False  # file results under the name of results that another folder's run has
    allow_shared_weights: bool = False  # score steps whose weights are those of another step of the model
    allow_unused_weights: bool = False  # score checkpoints that hold weights which are no part of the model
    offline: bool = False  # never ask Hugging Face; what is missing is said before the first job
    keep_checkpoints: bool = True  # false: delete what a sweep downloaded after its last use
    disk_budget: str | None = None  # of what a sweep downloaded and has not deleted, such as 200GB; null: no limit
    scorer: ScorerConf = field(default_factory=ScorerConf)
    tracking: TrackingConf = field(default_factory=TrackingConf)
    analysis: AnalysisConf = field(default_factory=AnalysisConf)
    watch: WatchConf = field(default_factory=WatchConf)


DTYPES = ("auto", "float32", "float16", "bfloat16")
ENCODINGS = ("joint", "separate")
TOKENS_BY = ("file", "class")
TIES = ("expected", "first")
PARAMS = ("nominal", "total", "nonembedding")
RESOURCES = ("cpus", "gpus")
URIS = ("sqlite:///", "http://", "https://", "postgresql", "mysql", "mssql")
TAKEN = ("analysis", "audit")  # folders of multirun that are no suite's
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def profiles() -> list[str]:
    """Names of the task profiles: the files of conf/profile, shipped ones and the user's."""
    return sorted({path.stem for folder in conf_dirs() for path in (folder / "profile").glob("*.yaml")})


def bytes_of(text: str) -> int | None:
    """The number of bytes that `200GB`, `1.5 TB` or `1000000` says; None where it says none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d\d?)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if match is None:
        return None
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])


def at_home(path: str | Path) -> Path:
    """A path with ~ as the shell would have it, which leaves ~nobody as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def seeded(name: str, seed: int | None) -> str:
    """Folder name of a model: with its seed where its suite has several."""
    return name if seed is None else f"{name}-seed{seed}"


def register() -> None:
    """Make the schema and the resolvers known to Hydra (idempotent)."""
    store = ConfigStore.instance()
    store.store(name="evalrun_schema", node=Config, provider="evalrun")
    OmegaConf.register_new_resolver("evalrun.seeded", seeded, replace=True)
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
def apart() -> Iterator[None]:
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
    with apart(), hydra_session():
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


def typed(cfg: DictConfig) -> Config:
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
    typed_here = OmegaConf.select(cfg, "hydra.overrides.task") or []
    if any(word.lstrip("+").startswith(f"{key}=") for word in typed_here):
        return problem
    files = own_yaml.saying(own_yaml.chosen(cfg), key)
    return f"{', '.join(map(str, files))}: {problem}" if files else problem


def _typed(cfg: DictConfig) -> Config:
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    if OmegaConf.is_dict(plain.get("model")) and OmegaConf.is_missing(plain.model, "path"):
        raise ConfigError("no folder is given: name the one that holds your checkpoints with path=runs/my-model.")
    missing = sorted(str(key) for key in OmegaConf.missing_keys(plain))
    if missing:
        raise ConfigError([f"'{key}' has no value: set it with {key}=..." for key in missing])
    unknown = sorted(str(key) for key in plain if str(key) not in Config.__dataclass_fields__)
    if unknown:
        raise ConfigError([f"unknown key '{k}': {nearest(k, Config.__dataclass_fields__)}" for k in unknown])
    config = cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain)))
    found = list(_value_problems(config))
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
    return f"{where}: {first_line(origin)}."


def _value_problems(config: Config) -> Iterator[str]:
    """Sentences about values that have the right type and cannot be right."""
    if config.scorer.dtype not in DTYPES:
        yield f"scorer.dtype is '{config.scorer.dtype}': {nearest(config.scorer.dtype, DTYPES)}"
    if config.scorer.encoding not in ENCODINGS:
        yield f"scorer.encoding is '{config.scorer.encoding}': {nearest(config.scorer.encoding, ENCODINGS)}"
    if config.scorer.tokens_by not in TOKENS_BY:
        yield f"scorer.tokens_by is '{config.scorer.tokens_by}': {nearest(config.scorer.tokens_by, TOKENS_BY)}"
    if config.tracking.uri is not None and not config.tracking.uri.startswith(URIS):
        yield (
            f"tracking.uri is '{config.tracking.uri}': it must be null, sqlite:///FILE, http(s)://HOST:PORT or a "
            "database such as postgresql://USER@HOST/NAME."
        )
    if config.scorer.ties not in TIES:
        yield f"scorer.ties is '{config.scorer.ties}': {nearest(config.scorer.ties, TIES)}"
    if not 0 <= config.scorer.allow_not_finite <= 1:
        yield f"scorer.allow_not_finite is {config.scorer.allow_not_finite}: it is a share, from 0 to 1."
    if config.profile not in profiles():
        yield f"profile is '{config.profile}': {nearest(config.profile, profiles())}"
    if config.analysis.params not in PARAMS:
        yield f"analysis.params is '{config.analysis.params}': {nearest(config.analysis.params, PARAMS)}"
    if not 0 < config.analysis.alpha < 1:
        yield f"analysis.alpha is {config.analysis.alpha}: it must lie between 0 and 1."
    if not config.analysis.flat_within > 0:
        yield f"analysis.flat_within is {config.analysis.flat_within}: it must be more than 0."
    if config.scorer.batch_size < 1:
        yield f"scorer.batch_size is {config.scorer.batch_size}: it must be 1 or more."
    softmax_dtype, allowed = config.scorer.softmax_dtype, DTYPES[1:]
    if softmax_dtype is not None and softmax_dtype not in allowed:
        yield f"scorer.softmax_dtype is '{softmax_dtype}': {nearest(softmax_dtype, allowed)}"
    for name in ("poll_s", "hook_s"):
        if getattr(config.watch, name) <= 0:
            yield f"watch.{name} is {getattr(config.watch, name)}: it must be more than 0 seconds."
    for name in ("token_budget", "token_budget_gpu"):
        if getattr(config.scorer, name) < 1:
            yield f"scorer.{name} is {getattr(config.scorer, name)}: it must be 1 token or more."
    if config.scorer.verify < 0:
        yield f"scorer.verify is {config.scorer.verify}: it must be 0 or a number of requests to score again."
    if config.limit is not None and config.limit < 1:
        yield f"limit is {config.limit}: it must be 1 or more items, or null for all."
    if config.heartbeat_s <= 0:
        yield f"heartbeat_s is {config.heartbeat_s}: it must be more than 0 seconds."
    if config.num_fewshot is not None and config.num_fewshot < 0:
        yield f"num_fewshot is {config.num_fewshot}: it must be 0 or more, or null for each task's own."
    if config.disk_budget is not None and not bytes_of(config.disk_budget):
        yield f"disk_budget is '{config.disk_budget}': write a size such as 200GB or 1.5TB, or null for no limit."
    elif config.disk_budget is not None and config.keep_checkpoints:
        yield f"disk_budget is {config.disk_budget}, but nothing may be deleted: set keep_checkpoints=false with it."
    for key, name in (("checkpoint.suite", config.checkpoint.suite), ("model.name", config.model.name)):
        if not re.fullmatch(r"[^\W_][^/\\\x00-\x1f]{0,99}", name) or name.strip() != name:
            yield f"{key} is '{name}', which cannot name a folder: begin with a letter or digit and leave out slashes."
    if config.checkpoint.suite in TAKEN:
        yield f"checkpoint.suite is '{config.checkpoint.suite}', a folder of evalrun's own in multirun: choose another."
    for key in sorted(set(config.model.resources) - set(RESOURCES)):
        yield f"model.resources has '{key}': {nearest(key, RESOURCES)}"
    if not config.tasks:
        yield "tasks is empty, so no task is given: name some with task=..., for example task=paper."
    if config.data_dir is not None and not Path(config.data_dir).is_dir():
        yield f"data_dir is '{config.data_dir}', which is no folder: name the folder that holds the data files."
    yield from _checkpoint_problems(config.checkpoint)


def _checkpoint_problems(checkpoint: CheckpointConf) -> Iterator[str]:
    if (checkpoint.revision is None) == (checkpoint.folder is None):
        yield "checkpoint needs either a revision (hub) or a folder (local), not both and not neither."
    for key in ("revision", "folder"):
        pattern = getattr(checkpoint, key)
        if pattern not in (None, "auto") and (problem := pattern_problem(pattern, f"checkpoint.{key}")):
            yield problem
    if checkpoint.unit is not None and checkpoint.unit not in UNITS:
        yield f"checkpoint.unit is '{checkpoint.unit}': {nearest(checkpoint.unit, UNITS)}"
    if checkpoint.tokens_per_step is not None and checkpoint.tokens_per_step < 1:
        yield f"checkpoint.tokens_per_step is {checkpoint.tokens_per_step}: it must be 1 token or more."
    steps = checkpoint.steps
    if isinstance(steps, dict) and not all(_is_step(step) and isinstance(name, str) for step, name in steps.items()):
        yield f"checkpoint.steps is {steps}: as a mapping it gives each step its folder or revision, {{500: name}}."
    elif steps is not None and not isinstance(steps, (list, dict)):
        yield f"checkpoint.steps is {steps}: write a list of steps, or a mapping such as {{500: name}}."
    elif isinstance(steps, list):
        try:
            if not released_steps(steps):
                yield "checkpoint.steps is []: list one at least, or write null for those that are there."
        except ConfigError as error:
            yield from error.problems


def _is_step(step: object) -> bool:
    return isinstance(step, int) and not isinstance(step, bool) and step >= 0


def named(path: str) -> str:
    """What a training run is called: its folder, without the part that says the seed."""
    whole = re.sub(r"[-_.]?(?:seed)?[-_.]?\{seed\}", "", path.rstrip("/"))
    name = Path(whole).name or Path(whole).resolve().name
    return Path(whole).resolve().name if name in (".", "..") else name
