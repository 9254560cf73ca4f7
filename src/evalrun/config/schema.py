"""The typed shape of the configuration. Values live in conf/ alone; here are names, types and meanings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING


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
    base: str | None = None  # of adapters: folder or hub repository; null: as adapter_config.json says
    aliases: list[str] = field(default_factory=list)  # other names of the same repository, in others' result files
    architecture: dict[str, int] = field(default_factory=dict)  # only for models that `evalrun tiny` trains
    resources: dict[str, float] = field(default_factory=dict)  # cpus, gpus of a job, for the launchers ray and slurm


@dataclass
class StageConf:
    """A later stage of training (conf/checkpoint, stages): its steps count from 1 again unless it continues."""

    name: str = MISSING  # as in stage=: sft
    path: str | None = (
        None  # hub repository or folder; may use {path} (the model's), {start}, {seed}; null: the model's
    )
    revision: str | None = None  # hub: revision of a step, such as sft-step{step}; may use {start}
    folder: str | None = None  # local: folder of a step; may use {start}; neither: the suite's own
    steps: Any = None  # as the suite's
    unit: str | None = None  # as the suite's
    tokens_per_step: int | None = None  # null: what names or the training's records say; 0: not known, counted as none
    continues: bool = False  # its step numbers, and the tokens that they mean, go on from the stage before
    after: str | None = None  # the stage that it starts from; null: the one above it
    start: Any = None  # step of that stage that it starts from; null: its last; a list: one training from each
    tokenizer: str | None = None  # folder or hub repository; null: the model's, else the checkpoint's own
    base: str | None = None  # of adapters; null: as adapter_config.json says


@dataclass
class CheckpointConf:
    """Which steps a suite released and how a step is found (conf/checkpoint)."""

    suite: str = MISSING  # names the MLflow experiments
    steps: Any = None  # released steps: numbers and {from, to, by}; or step: name; null: those that are there
    tokens_per_step: int | None = None  # null: the model's, else what names or the training's own records say
    revision: str | None = None  # hub: revision of a step, such as step{step}-tokens{tokens}
    unit: str | None = None  # local: what numbers in names count: steps, epochs, samples, tokens; null: as names say
    folder: str | None = None  # local: folder of a step inside model.path, such as step{step}; auto: what is there
    convert: str | None = None  # local: command that makes a Hugging Face folder of a checkpoint; null: none is needed
    converted: str | None = None  # folder of what it made; null: multirun/.cache/converted
    convert_text: str | None = None  # file to try what it made on; null: a paragraph of English; none: not tried
    format: str | None = None  # local: rules of conf/format that read what a trainer wrote; null: by looking
    config: str | None = None  # local: folder or hub repository with config.json; null: as the trainer's files say
    seed: int | None = None  # training seed, where a suite has several
    stages: list[StageConf] = field(default_factory=list)  # what follows pretraining: mid-training, sft, preference, rl
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
    url: str | None = None  # server: of one that runs; null: `serve` starts one for each checkpoint
    serve: str | None = None  # server: command that serves a checkpoint, with {path} or {repo}, and {port}
    served_model: str | None = None  # server: name to ask for; null: the first that it lists
    concurrency: int | None = None  # server: requests that are at it at once
    retries: int | None = None  # server: of a request that is not answered, or with 429 or 5xx
    backoff_s: float | None = None  # server: seconds before the first of them; doubled with each
    timeout_s: float | None = None  # server: seconds until an answer counts as lost
    start_s: float | None = None  # server: seconds that `serve` may take until it answers
    quantization: str | None = None  # server, vllm: what is served in place of the checkpoint's own numbers
    check_most: str | None = None  # server, vllm: size of weights that are loaded here to check those that answer
    check_tolerance: float | None = None  # server, vllm: nats a token that these may differ by
    engine: dict[str, Any] = field(default_factory=dict)  # vllm: arguments of vllm.LLM


@dataclass
class GenerationConf:
    """How tasks that generate text are sampled (conf/generation); null is what a task's own file says."""

    samples: int | None = MISSING  # answers to each item
    temperature: float | None = MISSING  # 0: greedy
    top_p: float | None = MISSING
    top_k: int | None = MISSING
    seed: int = MISSING  # of the draws
    max_gen_toks: int | None = MISSING  # longest answer, in tokens


@dataclass
class ChatConf:
    """How prompts become a conversation (conf/chat)."""

    template: Any = MISSING  # false, true, auto, or the name of one of several that a tokenizer has
    template_args: dict[str, Any] = field(default_factory=dict)  # variables of the template
    system: str | None = MISSING  # system prompt
    fewshot_as_multiturn: bool = MISSING  # examples as turns; else all in one message
    think_end: str | None = MISSING  # ends the thinking part, which is cut from an answer
    stages: list[str] | None = MISSING  # of training that this is for; null: all


@dataclass
class TrackingConf:
    """Where MLflow keeps results (conf/tracking)."""

    uri: str | None = MISSING  # null: SQLite under root
    root: str = MISSING  # folder of the local store
    upgrade: bool = False  # migrate a database of an older MLflow, which that one cannot open any more then


@dataclass
class ShapeConf:
    """What makes a shape (conf/analysis, shapes); their meaning is written there."""

    move_share: float = MISSING
    prevails: float = MISSING
    late_from: float = MISSING
    held_loss: float = MISSING
    jump_within: float = MISSING
    jump_share: float = MISSING
    level_over: float = MISSING


@dataclass
class AnalysisConf:
    """What is made of the results (conf/analysis)."""

    name: str = MISSING
    after_sweep: bool = MISSING  # run by itself after a multirun
    metric: str | None = MISSING  # null: each task's primary metric
    params: str = MISSING  # nominal, total or nonembedding: which count is the predictor
    axis: str = MISSING  # tokens or flops
    fit_stages: str = MISSING  # pretraining or all: which stages the regressions are fitted to
    x: str | None = MISSING  # a loss that tasks are looked at over, too; null: none
    sensitivity: bool = MISSING  # fit again under other choices: counts, scale, each model left out
    methods: list[str] = MISSING  # of the regression; stars are by the first
    corrections: list[str] = MISSING  # statsmodels' names of corrections for multiple tests; the first is the headline
    alpha: float = MISSING
    smallest_effect: float = MISSING  # of interest, per factor of ten: points of a share, else a share of its size
    smallest_change: float = MISSING  # of interest: points of a share, of other metrics a share of their size
    shapes: ShapeConf = field(default_factory=ShapeConf)
    expected: dict[str, str] = field(default_factory=dict)  # task: label that a publication gives its curve
    expected_over: str = MISSING  # training or size: which curves these labels are of
    same_within: float = MISSING  # share of its value up to which two results of one checkpoint are one
    items: bool = MISSING  # read per-item results too: paired tests, continuous metrics
    cluster_by: str | None = MISSING  # a column of the tasks' data: items with one value belong together; null: none
    item_model: str | None = MISSING  # reml or ml: regression of single answers; null: none
    item_model_most: int = MISSING  # checkpoints of a task, at most, that it is fitted to
    item_dynamics: bool = MISSING  # where items are read: which are learned, lost and regained
    item_guess: float | None = MISSING  # probability that a guess is right; null: one over an item's choices
    item_slip: float = MISSING  # share of wrong answers, at most, to items that are known
    seed_shift: float = MISSING  # compare of single runs: by how much a seed is taken to shift a curve for good
    seed_timing: float = MISSING  # the same of when it learns, in doublings of the tokens
    item_parts: list[str] = MISSING  # ways to divide the items of each task: difficulty, gold_position, columns
    word_predictors: list[str] = MISSING  # length, and files with numbers of words, to be correlated with surprisal
    item_pages: str = MISSING  # prompts, answers or none: what each task's page of its items shows
    figures: str = MISSING  # paper, all or none: which figures are drawn as files
    draws: int = MISSING  # of each bootstrap and permutation test
    seed: int = MISSING  # of all of them


@dataclass
class WatchConf:
    """How training runs are watched (`evalrun watch`)."""

    poll_s: float = MISSING  # seconds between two looks at the folders
    half_by: int = MISSING  # looks by which half of analysis.alpha is spent
    retry_s: float = MISSING  # seconds after a first fault until the next try; doubled with each
    retry_most_s: float = MISSING  # bound of that
    command: str | None = None  # run when a task falls: JSON on its standard input, EVALRUN_* in its environment
    webhook: str | None = None  # address that the same JSON is posted to
    hook_s: float = MISSING  # time limit of either


@dataclass
class GateConf:
    """What a checkpoint must pass (conf/gate, `evalrun gate`)."""

    name: str = MISSING
    against: str = MISSING  # previous, best, a name of `pinned`, MODEL@STEP, or the id of an MLflow run
    pinned: dict[str, str] = field(default_factory=dict)  # name: checkpoint, such as release: mine@64000
    margin: float | None = MISSING  # fall of a task's metric that is allowed, in its units; null: of `tasks` alone
    tasks: dict[str, Any] = field(default_factory=dict)  # task: margin, or {margin, improve, at_least, at_most}
    alpha: float = MISSING  # probability, at most, of a wrong verdict, over all tasks together
    undecided: str = MISSING  # fail or pass: what the data cannot tell
    items: int = MISSING  # that broke, of each task, that are shown


@dataclass
class Config:
    """One job: one checkpoint, some tasks."""

    model: ModelConf = field(default_factory=ModelConf)
    checkpoint: CheckpointConf = field(default_factory=CheckpointConf)
    stage: str | None = None  # of training, named by its suite; null: pretraining, the suite's own steps
    step: int = MISSING  # of its stage
    tasks: list[str] = MISSING
    profile: str = MISSING  # how tasks are rendered (conf/profile): corrected, as_published
    data_dir: str | None = None  # folder with local data files in the release format
    num_fewshot: int | None = None  # null: each task's own
    limit: int | None = None  # items per task, for trying out; null: all
    order: str = MISSING  # in which steps are evaluated: given, newest, bisect
    until: str | None = None  # settled: refine a curve no further than its shape needs; null: compute all
    until_levels: int = MISSING  # levels of bisecting that every curve gets before that
    force: bool = False  # recompute what is there
    fail_fast: bool = False  # a sweep starts no more jobs once one has failed
    sweep: str | None = None  # which multirun this job belongs to; set by the sweeper
    heartbeat_s: float = MISSING  # seconds between a running job's signs of life
    trust_remote_code: bool = False  # run modelling code from the hub
    trust_pickle: bool = False  # load weights that are there as pickles only
    trust_task_code: bool = False  # run `!function` code named by task files outside lm-eval
    run_generated_code: bool = False  # run code that a model writes, for tasks with unsafe_code
    allow_other_folder: bool = False  # file results under the name of results that another folder's run has
    allow_shared_weights: bool = False  # score steps whose weights are those of another step of the model
    allow_unused_weights: bool = False  # score checkpoints that hold weights which are no part of the model
    offline: bool = False  # never ask Hugging Face; what is missing is said before the first job
    keep_checkpoints: bool = True  # false: delete what a sweep downloaded or converted after its last use
    disk_budget: str | None = (
        None  # of what a sweep downloaded or converted and has not deleted, such as 200GB; null: no limit
    )
    scorer: ScorerConf = field(default_factory=ScorerConf)
    generation: GenerationConf = field(default_factory=GenerationConf)
    chat: ChatConf = field(default_factory=ChatConf)
    tracking: TrackingConf = field(default_factory=TrackingConf)
    analysis: AnalysisConf = field(default_factory=AnalysisConf)
    watch: WatchConf = field(default_factory=WatchConf)
    gate: GateConf = field(default_factory=GateConf)


_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int | None:
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


def step_dirname(stage: str | None, step: object) -> str:
    """Folder name of a step: with its stage where it is of a later one."""
    return f"step{step}" if stage is None else f"{stage}-step{step}"


def model_dirname(name: str, seed: int | None) -> str:
    """Folder name of a model: with its seed where its suite has several."""
    return name if seed is None else f"{name}-seed{seed}"


def named(path: str) -> str:
    """What a training run is called: its folder, without the part that says the seed."""
    whole = re.sub(r"[-_.]?(?:seed)?[-_.]?\{seed\}", "", path.rstrip("/"))
    name = Path(whole).name or Path(whole).resolve().name
    return Path(whole).resolve().name if name in (".", "..") else name
