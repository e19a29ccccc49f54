"""Apache Spark in one JVM, with a Python process for each of two tasks."""

import pytest

from .agreement import *  # noqa: F403
from .engines import spark_engine
from .native import *  # noqa: F403


@pytest.fixture(scope="module")
def there(java, data, tmp_path_factory):
    with spark_engine(data, tmp_path_factory.mktemp("jvm"), "local[2]") as engine:
        yield engine
