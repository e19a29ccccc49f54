"""The history in Delta tables, written by Sail: as folders and in a catalog."""

import uuid

import pytest

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.sources import export_runs

from .lived import attempt_of
from .lived import deploy
from .lived import leave_run
from .lived import row_of
from .lived import verdict_of
from .synthetic import synthetic_history
from .test_interrupted import contents
from .test_places import all_of


pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["delta", "catalog"])
def open_tables(request, tmp_path, open_at, monkeypatch):
    """Open the same new place as often as it is called."""
    monkeypatch.setenv("TZ", "America/New_York")
    name = f"h{uuid.uuid4().hex}"
    delta = f"delta:{tmp_path / name}"
    text = delta if request.param == "delta" else f"spark_catalog.{name}"
    monkeypatch.chdir(tmp_path)  # where Sail puts the tables of its catalog
    return lambda: open_at(text, spark="sail")


def test_tables_give_back_what_was_put_there(open_tables):
    place, history = open_tables(), synthetic_history(30, 3, slices=2, rows=4)
    for _ in range(2):
        place.replace(history)
    for name, table in history.items():
        keys = [(key, "ascending") for key in BY_NAME[name].keys]
        assert all_of(place, name).to_pylist() == table.sort_by(keys).to_pylist()


def test_runs_are_exported_once_and_again_when_they_change(open_tables, open_at, home):
    verdicts = [verdict_of(number) for number in range(3)]
    for verdict in verdicts:
        leave_run(home, verdict, [row_of(1)])
    assert export_runs(home, open_tables(), with_rows=True).new == 3
    deploy(home, attempt_of(verdicts[0]))
    done = export_runs(home, open_tables())
    assert (done.new, done.changed, done.same) == (0, 1, 2)
    here = open_at("here")
    export_runs(home, here, with_rows=True)
    assert contents(open_tables()) == contents(here)


def test_the_wide_view_is_made_anew_for_new_metrics(home, tmp_path, open_at):
    text = f"spark_catalog.h{uuid.uuid4().hex}"
    place = open_at(text, spark="sail")
    verdict = verdict_of()
    leave_run(home, verdict)
    export_runs(home, place)
    values = verdict["evaluations"][0]["metrics"]
    values["it's \\ odd"] = {**values["rouge1"], "value": 3.0}
    leave_run(home, verdict)
    export_runs(home, place)
    query = f"SELECT m_rouge1, m_it_s_odd FROM {text}.metrics_wide ORDER BY m_rouge1"
    found = [tuple(row) for row in place._spark.sql(query).collect()]
    assert found == [(0.5, None), (0.75, 3.0)]


def test_a_schema_of_another_version_is_refused(open_tables):
    open_tables().keep_note("schema", "2")
    with pytest.raises(ConfigurationError, match="update pytest-llmeval-gate"):
        open_tables()


def test_spark_says_which_history_it_cannot_use(open_at):
    with pytest.raises(ConfigurationError, match="use the history in delta:/proc/x"):
        open_at("delta:/proc/x", spark="sail")
