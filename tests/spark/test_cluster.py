"""A standalone cluster of Apache Spark: executors are processes of two workers."""

import os

import pytest

from .agreement import *  # noqa: F403
from .cluster import JVM
from .cluster import cluster
from .cluster import members
from .engines import ROOT
from .engines import spark_engine


CONF = f"""\
spark.executor.extraJavaOptions {JVM}
spark.executor.cores 1
spark.executor.memory 512m
spark.sql.shuffle.partitions 2
"""


@pytest.fixture(scope="module")
def there(java, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("standalone")
    (folder / "spark-defaults.conf").write_text(CONF)
    with pytest.MonkeyPatch.context() as patch, cluster(folder) as master:
        patch.setenv("SPARK_CONF_DIR", str(folder))
        patch.setenv("PYTHONPATH", str(ROOT))
        with spark_engine(data, folder, master) as engine:
            yield engine


def test_both_workers_compute(there):
    def name(batches):
        import pyarrow

        for _ in batches:
            parent = os.getppid()
            yield pyarrow.RecordBatch.from_pydict({"parent": [parent]})

    frame = there.session.range(4).repartition(4).mapInArrow(name, "parent bigint")
    parents = {row["parent"] for row in frame.collect()}
    assert len(parents) == 2


@pytest.mark.usefixtures("java")
def test_a_cluster_leaves_no_process_behind(tmp_path):
    with cluster(tmp_path) as master:
        group = int((tmp_path / "cluster" / "group").read_text())
        assert master.startswith("spark://127.0.0.1:")
        assert len(members(group)) >= 4  # the shell, the master, and two workers
    assert members(group) == []
