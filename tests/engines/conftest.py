"""Each engine starts once, when the first test asks for it; what is not installed is a failure, not a skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import engines


@pytest.fixture(scope="session")
def slurm() -> Iterator[engines.Slurm]:
    """One node, 4 CPUs, two pretended GPUs, partitions `main` and (preempted by it, requeued) `low`; accounting."""
    with engines.short_folder() as folder, engines.slurm(folder) as cluster:
        yield cluster


@pytest.fixture
def ray_cluster() -> Iterator[engines.RayCluster]:
    """A head and one more node, two CPUs each; fresh for each test, since tests kill the node."""
    with engines.short_folder() as folder, engines.ray_cluster(folder) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[engines.Postgres]:
    with engines.short_folder() as folder, engines.postgres(folder) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(postgres: engines.Postgres) -> Iterator[engines.MlflowServer]:
    """A tracking server on PostgreSQL; a test that kills it starts it again."""
    with engines.short_folder() as folder, engines.mlflow_server(postgres, folder) as server:
        yield server
