import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmeval import errors
from pytest_llmeval.config import Settings
from pytest_llmeval.config import build_settings
from pytest_llmeval.config import check_confidence
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.options import OPTIONS


ROOT = Path("/project")


def build(options=None, ini=None):
    return build_settings(ROOT, {**(options or {}), **(ini or {})})


def test_every_option_is_a_field_of_settings():
    fields = {field.name for field in dataclasses.fields(Settings)}

    assert {option.field for option in OPTIONS} == fields - {
        "rootdir",
        "services",
        "sources",
        "worker",
        "workers",
    }


def test_every_option_can_be_set_somewhere_and_has_help():
    for option in OPTIONS:
        assert option.option or option.ini, option
        assert option.help, option
        assert (option.option or "--llmeval-").startswith("--llmeval-")
        assert (option.ini or "llmeval_").startswith("llmeval_")


def test_nothing_given_leaves_the_defaults():
    settings = build()

    assert settings == Settings(rootdir=ROOT)
    assert settings.sources == {}
    assert (settings.concurrency, settings.timeout_s, settings.attempts) == (32, 60, 3)
    assert settings.cache == "on"
    assert settings.confidence is None


def test_command_line_wins_over_ini_and_the_source_is_named():
    settings = build(
        {"--llmeval-model": "gguf:a", "--llmeval-cache": None},
        {"llmeval_model": "gguf:b", "llmeval_cache": " only ", "llmeval_dir": ""},
    )

    assert settings.model == "gguf:a"
    assert settings.cache == "only"
    assert settings.directory == ".llmeval"
    assert settings.sources == {"model": "--llmeval-model", "cache": "llmeval_cache"}


def test_values_are_converted():
    settings = build(
        {"--llmeval-concurrency": "8", "--llmeval-timeout": "2.5"},
        {"llmeval_attempts": "5", "llmeval_confidence": "0.9"},
    )

    assert settings.concurrency == 8
    assert settings.timeout_s == 2.5
    assert settings.attempts == 5
    assert settings.confidence == 0.9


def test_a_flag_is_on_only_when_given():
    assert build({"--llmeval-require": True}).require is True
    assert build({"--llmeval-require": False}).require is False


@pytest.mark.parametrize(
    ("word", "expected"), [("true", True), ("1", True), ("Off", False), ("no", False)]
)
def test_a_flag_in_the_ini_file_says_true_or_false(word, expected):
    assert build(ini={"llmeval_early_stop": word}).early_stop is expected
    given = build({"--llmeval-early-stop": True}, {"llmeval_early_stop": word})
    assert given.early_stop is True


@pytest.mark.parametrize(
    ("options", "ini", "message"),
    [
        (
            {"--llmeval-cache": "refesh"},
            {},
            "--llmeval-cache = 'refesh' is not one of: on, off, refresh, only; "
            "did you mean 'refresh'?",
        ),
        (
            {},
            {"llmeval_early_stop": "maybe"},
            "llmeval_early_stop = 'maybe' is neither true nor false",
        ),
        (
            {},
            {"llmeval_point_gates": "zzz"},
            "llmeval_point_gates = 'zzz' is not one of: refuse, allow",
        ),
        (
            {},
            {"llmeval_reruns": "blok"},
            "llmeval_reruns = 'blok' is not one of: block, allow; did you mean "
            "'block'?",
        ),
        (
            {"--llmeval-gates": "updte"},
            {},
            "--llmeval-gates = 'updte' is not one of: update, diff; did you mean "
            "'update'?",
        ),
        (
            {"--llmeval-concurrency": "many"},
            {},
            "--llmeval-concurrency = 'many' is not a whole number",
        ),
        (
            {},
            {"llmeval_concurrency": "2.5"},
            "llmeval_concurrency = '2.5' is not a whole number",
        ),
        (
            {"--llmeval-timeout": "1m"},
            {},
            "--llmeval-timeout = '1m' is not a number",
        ),
        (
            {"--llmeval-concurrency": "0"},
            {},
            "--llmeval-concurrency = '0' must be at least 1",
        ),
        (
            {},
            {"llmeval_attempts": "-1"},
            "llmeval_attempts = '-1' must be at least 1",
        ),
        (
            {"--llmeval-timeout": "0"},
            {},
            "--llmeval-timeout = '0' must be at least 0.001",
        ),
        (
            {"--llmeval-timeout": "nan"},
            {},
            "--llmeval-timeout = 'nan' must be at least 0.001",
        ),
        (
            {},
            {"llmeval_confidence": "95"},
            "llmeval_confidence = 95.0 must be at least 0.5 and below 1; did you mean "
            "0.95?",
        ),
        (
            {},
            {"llmeval_confidence": "95 %"},
            "llmeval_confidence = '95 %' is not a number",
        ),
        (
            {},
            {"llmeval_cache_size": "inf"},
            "llmeval_cache_size = 'inf' must be finite",
        ),
        (
            {},
            {"llmeval_attempts": "true"},
            "llmeval_attempts = 'true' is not a whole number",
        ),
        (
            {},
            {"llmeval_cache": "True"},
            "llmeval_cache = 'True' is not one of: on, off, refresh, only",
        ),
        (
            {},
            {"llmeval_model": ["a", "b"]},
            "llmeval_model = ['a', 'b'] is not one value but several",
        ),
        (
            {},
            {"llmeval_early_stop": ["on"]},
            "llmeval_early_stop = ['on'] is neither true nor false",
        ),
        (
            {"--llmeval-tracking": "of"},
            {},
            "--llmeval-tracking = 'of' is not a tracking URI, nor one of: auto, off, "
            "databricks, databricks-uc; did you mean 'off'?",
        ),
    ],
)
def test_an_unusable_value_is_refused_with_its_name_and_what_is_allowed(
    options, ini, message
):
    with pytest.raises(ConfigurationError) as caught:
        build(options, ini)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "uri", ["auto", "off", "databricks", "sqlite:///a.db", "http://host", "./mlruns"]
)
def test_a_tracking_uri_is_taken_as_it_is(uri):
    assert build({"--llmeval-tracking": uri}).tracking == uri


def test_the_least_value_itself_is_allowed():
    assert build({"--llmeval-concurrency": "1"}).concurrency == 1
    assert build({"--llmeval-timeout": "0.001"}).timeout_s == 0.001


@pytest.mark.parametrize("value", [0.5, 0.95, 0.999])
def test_a_confidence_between_a_half_and_one_is_taken(value):
    assert check_confidence(value) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (95, "confidence = 95 must be .* below 1; did you mean 0.95"),
        (99.5, "did you mean 0.995"),
        (0.05, r"confidence = 0.05 must be at least 0.5 and below 1$"),
        (1, r"confidence = 1 must be at least 0.5 and below 1$"),
        (1.5, r"below 1$"),
        (float("nan"), "confidence = nan must be at least 0.5"),
        (True, "confidence = True is not a number such as 0.95"),
        ("0.95", "confidence = '0.95' is not a number such as 0.95"),
        (None, "confidence = None is not a number"),
    ],
)
def test_any_other_confidence_is_refused(value, message):
    with pytest.raises(ConfigurationError, match=message):
        check_confidence(value)


def test_nearest_names_a_similar_word_or_nothing():
    assert nearest("rogue1", ["rouge1", "bleu"]) == "; did you mean 'rouge1'?"
    assert nearest("xyz", ["rouge1", "bleu"]) == ""


@pytest.mark.parametrize("tracking", ["auto", "off"])
def test_tracking_goes_to_the_environments_uri_or_a_file_in_the_rootdir(
    monkeypatch, tracking
):
    settings = Settings(rootdir=ROOT, tracking=tracking)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert settings.tracking_uri == "sqlite:////project/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert settings.tracking_uri == "sqlite:////project/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker")
    assert settings.tracking_uri == "http://tracker"


def test_a_given_tracking_uri_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker")

    assert Settings(tracking="sqlite:///x.db").tracking_uri == "sqlite:///x.db"


def test_folders_start_at_the_rootdir_unless_they_are_absolute():
    assert Settings(rootdir=ROOT).home == ROOT / ".llmeval"
    assert Settings(rootdir=ROOT, directory="/elsewhere").home == Path("/elsewhere")
    assert Settings(rootdir=ROOT).manifest_path == ROOT / "evals/gates.toml"


def test_a_missing_optional_package_names_the_extra_that_brings_it():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from pytest_llmeval.errors import optional; optional('sacrebleu')"
    )
    package = Path(errors.__file__).parents[1]

    # -S: without site-packages nothing optional is installed.
    result = subprocess.run(
        [sys.executable, "-S", "-c", script, package],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (
        "MissingDependency: the package 'sacrebleu' is not installed; install it with: "
        'pip install "pytest-llmeval-gate[metrics]"'
    ) in result.stderr


def test_similar_beginnings_do_not_count():
    known = ["llmeval_cache", "llmeval_model"]
    assert nearest("llmeval_zzz", known, prefix="llmeval_") == ""
    expected = "; did you mean 'llmeval_model'?"
    assert nearest("llmeval_modle", known, prefix="llmeval_") == expected
