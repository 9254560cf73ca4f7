"""Configs: every shipped file composes, exact counts, and mistakes reported all at once with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalrun.checkpoints.suites import checkpoint_of
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.own_yaml import conf_dir
from evalrun.config.schema import Config
from evalrun.config.store_words import store_words
from evalrun.errors import ConfigError
from evalrun.grid import override_checks, planning
from evalrun.grid import overrides as ov
from evalrun.grid.sweep_plan import Plan
from evalrun.launch.job_configs import JobComposer

_ONE = ("model=pythia-70m", "step=1000")
EXACT = {  # non-embedding, total: from the Pythia release
    "70m": (18_915_328, 70_426_624),
    "160m": (85_056_000, 162_322_944),
    "410m": (302_311_424, 405_334_016),
    "1b": (805_736_448, 1_011_781_632),
    "1.4b": (1_208_602_624, 1_414_647_808),
    "2.8b": (2_517_652_480, 2_775_208_960),
    "6.9b": (6_444_163_072, 6_857_302_016),
    "12b": (11_327_027_200, 11_846_072_320),
}


def plan(*words: str) -> Plan:
    with hydra_session():
        given = ov.parse(words)
        override_checks.check(given)
        return planning.plan(tuple(ov.for_hydra(given)))


def config(*words: str) -> Config:
    with hydra_session():
        return to_config(compose([o.input_line or "" for o in ov.parse(words)]))


def problems(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(*words)
    return caught.value.problems


@pytest.mark.parametrize("group", ["model", "checkpoint", "scorer", "profile", "tracking", "analysis", "experiment"])
def test_every_shipped_config_composes(group: str) -> None:
    files = sorted((conf_dir() / group).rglob("*.yaml"))
    assert files
    for file in files:
        name = str(file.relative_to(conf_dir() / group).with_suffix(""))
        place = ["path=runs/mine"] if name == "local" else []
        words = (
            [f"{group}={name}", "step=1", *place]
            if group == "model"
            else ["model=pythia-70m", f"{group}={name}", "step=1"]
        )
        assert config(*words).step == 1


@pytest.mark.parametrize("size", EXACT)
def test_pythia_parameter_counts(size: str) -> None:
    model = config(f"model=pythia-{size}", "step=2000").model
    assert (model.n_params_nonembedding, model.n_params) == EXACT[size]
    nominal = float(size[:-1]) * {"m": 1e6, "b": 1e9}[size[-1]]
    assert model.n_params_nominal == nominal


def test_pythia_cell() -> None:
    cell = checkpoint_of(config("model=pythia-1b", "step=2000"))
    assert (cell.location, cell.revision, cell.tokens) == ("EleutherAI/pythia-1b", "step2000", 2000 * 2_097_152)
    assert cell.flops == 6 * 805_736_448 * cell.tokens


def test_the_literal_command() -> None:
    jobs = plan("model=glob(*)", "step=2,4,...,143000").jobs
    sizes = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    assert list(dict.fromkeys(job.cell.model for job in jobs)) == [f"pythia-{size}" for size in sizes]
    steps = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 143000]
    assert [job.cell.step for job in jobs] == steps * 8  # grouped by model
    assert all(job.cell.revision == f"step{job.cell.step}" for job in jobs)


def test_globs_and_lists_of_models() -> None:
    assert {job.cell.model for job in plan("model=glob(tiny/*)", "step=final").jobs} >= {"tiny-xs", "tiny-l"}
    assert [job.cell.model for job in plan("model=tiny/s,pythia-70m", "step=1").jobs] == ["tiny-s", "pythia-70m"]
    small = plan("model=glob([pythia-70m,pythia-1*],exclude=*b)", "step=1").jobs
    assert [job.cell.model for job in small] == ["pythia-70m", "pythia-160m"]


def test_steps_expand_per_model() -> None:
    jobs = plan("model=tiny/s,pythia-70m", "step=all").jobs
    assert len([job for job in jobs if job.cell.model == "pythia-70m"]) == 154
    assert {job.cell.step for job in jobs if job.cell.model == "tiny-s"} < {job.cell.step for job in jobs}


def test_hydras_own_range_and_other_axes() -> None:
    assert [j.cell.step for j in plan("model=pythia-70m", "step=range(1000,4000,1000)").jobs] == [1000, 2000, 3000]
    jobs = plan("model=pythia-70m", "step=1,2", "scorer.dtype=float16,float32").jobs
    assert len(jobs) == 4
    assert jobs[0].overrides == ("model=pythia-70m", "scorer.dtype=float16", "step=1")


def test_several_tasks_are_one_job() -> None:
    found = plan("model=pythia-70m", "step=1", "task=memo_trap,neqa")
    assert (len(found.jobs), found.tasks) == (1, ("memo_trap", "neqa"))
    assert plan("model=pythia-70m", "step=1").tasks == ("paper",)


def test_an_experiment_names_its_grid_and_the_command_line_wins() -> None:
    whole = plan("experiment=demo")
    assert {job.cell.suite for job in whole.jobs} == {"tiny"}
    assert whole.tasks == ("tiny",)
    part = plan("experiment=demo", "model=tiny/s", "step=final")
    assert len(part.jobs) == 1


PROMPTS = ("inverse_scaling_prize", "inverse_scaling_one_shot", "inverse_scaling_chain_of_thought", "controls")
PUBLISHED_STEPS = [2000, 4000, 8000, 16000, 32000, 64000, 128000, 143000]


@pytest.mark.parametrize(
    ("experiment", "sizes", "tasks", "profile"),
    [
        ("paper", list(EXACT), ("paper",), "as_published"),
        ("paper_v1", list(EXACT)[:-1], ("paper_v1",), "as_published"),
        ("inverse_scaling_prize", list(EXACT), ("inverse_scaling_prize", "controls"), "corrected"),
        ("inverse_scaling_prompts", list(EXACT), PROMPTS, "corrected"),
    ],
)
def test_a_study_lists_exactly_its_jobs(
    experiment: str, sizes: list[str], tasks: tuple[str, ...], profile: str
) -> None:
    found = plan(f"experiment={experiment}")
    assert [(j.cell.model, j.cell.step) for j in found.jobs] == [
        (f"pythia-{s}", n) for s in sizes for n in PUBLISHED_STEPS
    ]
    assert found.tasks == tasks
    for job in found.jobs:
        assert (job.config.profile, job.config.scorer.dtype) == (profile, "float16")
        assert job.config.scorer.encoding == ("separate" if profile == "as_published" else "joint")
        assert job.cell.revision == f"step{job.cell.step}"
    assert (found.config.analysis.params, found.config.analysis.corrections[0]) == ("nominal", "fdr_bh")


def test_profiles_can_be_swept() -> None:
    jobs = plan("experiment=paper", "model=pythia-70m", "step=2000", "profile=corrected,as_published").jobs
    assert [job.config.scorer.encoding for job in jobs] == ["joint", "separate"]
    assert len(plan("experiment=paper", "profile=corrected").jobs) == 64


def test_the_same_command_has_the_same_sweep_name() -> None:
    assert plan("model=pythia-70m", "step=1,2").sweep == plan("model=pythia-70m", "step=1,2").sweep
    assert plan("model=pythia-70m", "step=1,2").sweep != plan("model=pythia-70m", "step=1").sweep


def test_every_mistake_at_once_with_the_nearest_name() -> None:
    found = problems(
        "model=pythia-70n", "step=3", "task=memo_trp", "scorer=lm_evl", "tracking=sever", "analysis.alhpa=1",
        "scorer.batch_size=many",
    )  # fmt: skip
    said = "\n".join(found)
    for expected in ("'pythia-70m'", "'memo_trap'", "'lm_eval'", "'server'", "'analysis.alpha'", "scorer.batch_size"):
        assert expected in said
    assert len(found) == 6


def test_a_glob_without_match_lists_what_exists() -> None:
    (found,) = problems("model=glob(pythia/*)", "step=1")
    assert "matches nothing" in found
    assert "pythia-70m" in found
    assert "tiny/*" in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=pythia-70m", "step=1500"), "neighbours are 1000 and 2000"),
        (("model=pythia-70m",), "no step is given"),
        (("step=1",), "no model is given"),
        (("model=pythia-70m", "step=1", "+extra=2"), "unknown key 'extra'"),
        (
            ("model=pythia-70m", "step=1", "task=memo_trap", "task=redefine"),
            "task is given twice, task=memo_trap and task=redefine: several are written task=A,B.",
        ),
        (
            ("model=pythia-70m", "step=1", "limit=2", "limit=3"),
            "limit is given twice, limit=2 and limit=3: leave one out.",
        ),
        (("model=pythia-70m", "step=1", "~limit"), "cannot be deleted"),
        (("model=pythia-70m", "step=1", "limit=0"), "limit is 0"),
        (("model=pythia-70m", "step=1", "num_fewshot=-1"), "num_fewshot is -1"),
        (("model=pythia-70m", "step=1", "scorer.dtype=float8"), "scorer.dtype is 'float8'"),
        (("model=pythia-70m", "step=1", "scorer.encoding=jiont"), "did you mean 'joint'"),
        (("model=pythia-70m", "step=1", "profile=as_publishd"), "did you mean 'as_published'"),
        (("model=pythia-70m", "step=1", "analysis.params=counted"), "analysis.params is 'counted'"),
        (("model=pythia-70m", "step=1", "data_dir=/no/such/place"), "is no folder"),
        (("model=pythia-70m", "step=1", "order=bisct"), "order is 'bisct': did you mean 'bisect'?"),
        (("model=pythia-70m", "step=1", "order=bisect", "until=setled"), "until is 'setled': did you mean 'settled'?"),
        (("model=pythia-70m", "step=1", "until=settled"), "order is given: set order=bisect too"),
        (("model=pythia-70m", "step=1", "until_levels=1"), "until_levels is 1: it must be 2 levels"),
        (("model=pythia-70m", "step=1", "limit"), "write limit=VALUE"),
        (("model=pythia-70m", "step=1", "scorer.engine=null"), "engine is null: it must be `{key: value, ...}`, or {}"),
        (("model=pythia-70m", "step=1", "scorer.token_budget=null"), "token_budget is null: it must be a whole number"),
        (("model=pythia-70m", "step=1", "task=paper,"), "write task=paper, with no comma too many"),
        (("model=pythia-70m", "step=1", "limit = 3"), "no spaces around ="),
        (("model=pythia-70m", "step="), "step has no value"),
        (("model=tiny/*", "step=1"), "write 'model=glob(tiny/*)'"),
        (("model=pythia-70m", "step=1", "dtype=float16"), "did you mean 'scorer.dtype'"),
        (("model=pythia-70m", "step=1", "scorer=[lm_eval]"), "names several"),
        (("model=pythia-70m", "step=1", "hydra.launcher=ray"), "hydra/launcher=ray"),
        (
            ("model=pythia-70m", "step=1", "hydra/launcher=processes", "hydra.launcher.workers=two"),
            "hydra.launcher.workers is 'two': it must be a whole number, 1 or more, or auto",
        ),
        (("model=pythia-70m", "step=1", "hydra/launcher=ray", "hydra.launcher.gpus=-1"), "hydra.launcher.gpus is '-1'"),
        (("model=pythia-70m", "step=1", "hydra/launcher=slurm", "hydra.launcher.wait=no_"), "it must be true or false"),
        (("model=pythia-70m", "step=1", "hydra.sweep.dirr=x"), "Hydra does not take hydra.sweep.dirr=x"),
        (("model=pythia-70m", "step=1", "hydra/sweeper=optuna"), "unknown hydra/sweeper 'optuna'"),
        (("model=pythia-70m", "step=1", "hydra/sweeper=basic"), "expands its grids itself"),
        (
            ("model=pythia-70m", "step=1", "hydra.job.chdir=true"),
            "where relative paths of models",
        ),
        (("model=pythia-70m", "step=1", "tracking.uri=foo://bar"), "tracking.uri is 'foo://bar': it must be null"),
        (("model=pythia-70m", "step=1", "tracking.uri='sqlite:///a.db?timeout=9'"), "takes no options after a ?"),
        (("model=pythia-70m", "step=1", "task=[]"), "no task is given"),
        (("model=pythia-70m", "step=1", "analysis.item_model=rmel"), "did you mean 'reml'?"),
        (("model=pythia-70m", "step=1", "analysis.item_model_most=0"), "it must be 1 checkpoint or more"),
        (
            ("model=pythia-70m", "step=1", "analysis.cluster_by=template", "analysis.items=false"),
            "set analysis.items=true with it",
        ),
        (
            ("model=pythia-70m", "step=1", "analysis.item_parts=[difficulty]", "analysis.items=false"),
            "analysis.item_parts is ['difficulty'], but analysis.items is false: set analysis.items=true with it",
        ),
        (
            ("model=pythia-70m", "step=1", "analysis.item_parts=[x,x]", "analysis.items=true"),
            "name each way to divide items once",
        ),
        (
            ("model=pythia-70m", "step=glob(*)"),
            "step=glob(*): a glob chooses among files, which step has none of; write step=all",
        ),
        (("model=pythia-70m", "step=interval(100,200)"), "as in step=100,200 or step=range(100,201,100)"),
        (
            ("model=pythia-70m", "step=1", "limit=interval(1,2)"),
            "an interval names no values; list those that are meant",
        ),
        (("model=pythia-70m", "step=1", "scorer.dtype=glob(float*)"), "which scorer.dtype has none of"),
        (("model=pythia-70m", "step=1", "tasks=glob(*)"), "write 'task=glob(*)'"),
        (("step=1", "model=interval(1,2)"), "as in model=A,B"),
        (("model=pythia-70m", "step=1", "analysis.alpha=tag(a,interval(0,1))"), "as in analysis.alpha=A,B"),
        (
            ("model=pythia-70m", "step=1", "hydra/launcher=local,processes"),
            "what is Hydra's own is not swept; name one",
        ),
        (("model=pythia-70m", "step=1", "hydra.sweep.dir=glob(*)"), "what is Hydra's own is not swept; name one value"),
        (("model=pythia-70m", "step=1", "model.resources.gpsu=1"), "model.resources has 'gpsu': did you mean 'gpus'?"),
    ],
)
def test_one_mistake_one_sentence(words: tuple[str, ...], said: str) -> None:
    (found,) = problems(*words)
    assert said in found


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("tracking.root", "${nothing}", "'nothing' not found"),
        ("tracking.root", "x/${nothing.at.all}", "'nothing.at.all' not found"),
        ("tracking.root", "${tracking.root}", "Recursive interpolation"),
        ("tracking.root", "${oc.env:EVALRUN_HAS_NO_SUCH}", "'EVALRUN_HAS_NO_SUCH' not found"),
        ("data_dir", "${nosuch:1}", "Unsupported interpolation type nosuch"),
        ("limit", "${nothing}", "'nothing' not found"),
        ("scorer.dtype", "float32,${nothing}", "'nothing' not found"),
        ("checkpoint.steps", "[${nothing}]", "'nothing' not found"),
        ("model.name", "${nothing}", "'nothing' not found"),
        ("hydra.sweep.dir", "runs/${nothing}", "'nothing' not found"),
    ],
)
def test_what_stands_for_nothing_is_said_with_its_key(key: str, value: str, why: str) -> None:
    words = ("model=pythia-70m", "step=1", f"{key}={value}")
    with hydra_session(), pytest.raises(ConfigError) as caught:
        planning.planned(ov.parse(words))
    (found,) = caught.value.problems
    assert found.startswith(key)
    assert why in found
    assert "correct what it has in ${...}" in found


def test_what_is_known_only_in_a_job_is_left_to_it() -> None:
    words = (
        "model=pythia-70m",
        "step=1",
        "hydra.sweep.subdir=${model.name}/${hydra.job.num}",
        "tracking.root=${model.name}",
    )
    with hydra_session():
        assert len(planning.planned(ov.parse(words))[0].jobs) == 1


def test_a_jobs_number_may_name_its_folder() -> None:
    found = plan("model=pythia-70m", "step=1,2", "hydra.sweep.dir=out", "hydra.sweep.subdir=${hydra.job.num}")
    assert [job.state.parent for job in found.jobs] == [Path("out/0"), Path("out/1")]
    (made,) = found.composed
    made.hydra.overrides.hydra = ["hydra.sweep.subdir=${hydra.job.num}"]
    named = JobComposer(made, found.composed).compose(found.jobs[1]).whole
    assert Path(named.hydra.sweep.dir) / named.hydra.sweep.subdir == Path("out/1")


def test_a_file_of_the_users_that_refers_to_nothing_is_named(workspace: Path) -> None:
    (workspace / "conf" / "scorer").mkdir(parents=True, exist_ok=True)
    (workspace / "conf" / "scorer" / "mine.yaml").write_text("defaults: [shared_prefix, _self_]\ndtype: ${nothing}\n")
    (found,) = problems("model=pythia-70m", "step=1", "scorer=mine")
    assert found.startswith("conf/scorer/mine.yaml: scorer.dtype: Interpolation key 'nothing' not found")


def test_a_wrong_word_hides_no_wrong_step() -> None:
    with hydra_session(), pytest.raises(ConfigError) as caught:
        planning.check(ov.parse(("model=glob(tiny/*)", "step=3", "scorer.verify=x")))
    assert len(caught.value.problems) == 1 + 4
    assert "step 3 was never released for tiny-l" in caught.value.problems[-1]


def test_a_list_of_models_is_several_models_and_a_glob_of_tasks_leaves_out_what_they_include() -> None:
    assert [job.cell.model for job in plan("model=[tiny/s,tiny/m]", "step=1").jobs] == ["tiny-s", "tiny-m"]
    with hydra_session():
        (word,) = ov.parse(("task=glob(*tiny*)",))
        assert ov.choices(word) == ["tiny", "tiny_obey_new", "tiny_obey_quote", "tiny_recall"]


def test_a_users_configs_are_found(workspace: Path) -> None:
    found = plan("model=glob(toy/*)", "step=1,2,...,8", "task=alpha")
    assert [(job.cell.model, job.cell.step) for job in found.jobs[:2]] == [("toy-s", 1), ("toy-s", 2)]
    assert found.jobs[0].cell.location == "models/toy-s/step1"


def test_a_users_config_must_not_shadow_a_shipped_one(workspace: Path) -> None:
    (workspace / "conf" / "model" / "pythia-70m.yaml").write_text("name: mine\n")
    assert "rename yours" in problems("model=pythia-70m", "step=1")[0]


def test_a_store_is_named_where_no_command_takes_it_by_itself() -> None:
    server = "postgresql+psycopg://me@host/results"
    assert store_words(config(*_ONE).tracking) == []
    for given, words in (
        (["tracking.root=elsewhere"], ["tracking.root=elsewhere"]),
        (["tracking=server"], ["tracking.uri=http://127.0.0.1:5000"]),
        (["tracking=server", f"tracking.uri={server}", "tracking.root=here"], [f"tracking.uri={server}"]),
    ):
        found = config(*_ONE, *given).tracking
        assert store_words(found) == words
        assert config(*_ONE, *words).tracking.uri == found.uri


def test_no_default_hides_in_the_code() -> None:
    """What conf/config.yaml sets and what the schema knows are the same keys."""
    import yaml

    keys = set(yaml.safe_load((conf_dir() / "config.yaml").read_text())) - {"defaults", "hydra"}
    groups = {"model", "checkpoint", "scorer", "profile", "generation", "chat", "tracking", "analysis", "gate"}
    assert keys == set(Config.__dataclass_fields__) - groups - {"sweep"}


def test_mappings_whose_keys_are_the_users_are_given_whole_or_by_the_key() -> None:
    with hydra_session():
        for words in (
            ["analysis.expected={memo_trap: inverse,neqa: U-shaped}"],
            ["+analysis.expected.memo_trap=inverse", "+analysis.expected.neqa=U-shaped"],
            ["analysis.expected.memo_trap=inverse", "analysis.expected.neqa=U-shaped"],
        ):
            assert planning.settings_of(words).analysis.expected == {"memo_trap": "inverse", "neqa": "U-shaped"}
        assert planning.settings_of(["model.resources={cpus: 2}"]).model.resources == {"cpus": 2}
        engine = planning.settings_of(["scorer=vllm", "scorer.engine.enforce_eager=true"]).scorer.engine
        assert engine["enforce_eager"] is True
        grid = ["model=pythia-70m", "step=1", "task=tiny"]
        for word in ("scorer.engine.enforce_eager=true", "scorer.engine={enforce_eager: true}"):
            assert len(planning.plan((*grid, "scorer=vllm", word)).jobs) == 1
            with pytest.raises(ConfigError, match=r"scorer\.engine is .*enforce_eager.* a setting of scorer=vllm"):
                planning.plan((*grid, word))
    free = {
        "analysis.expected",
        "chat.template_args",
        "gate.pinned",
        "gate.tasks",
        "model.architecture",
        "model.resources",
        "scorer.engine",
    }
    assert ov.free_mappings() == free
