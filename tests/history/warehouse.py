"""The history tables in Spark's catalog, as an export to Unity Catalog leaves them."""

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.services import stop_all
from tests.spark.engines import settings_in


@contextmanager
def sail_tables(
    tables: Mapping[str, pa.Table], folder: Path, schema: str
) -> Iterator[tuple[Any, str]]:
    """Start a Sail server with tables; give its session and the catalog's name."""
    settings = settings_in(folder, spark="sail", services=folder / "services")
    try:
        spark = open_session(settings).spark
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        place = "`" + schema.replace("`", "``") + "`"
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {place}")
        for name, table in tables.items():
            file = folder / f"{name}.parquet"
            pq.write_table(table, file)
            spark.read.parquet(str(file)).createOrReplaceTempView("given")
            spark.sql(f"CREATE TABLE {place}.{name} AS SELECT * FROM given")
        yield spark, spark.sql("SELECT current_catalog()").collect()[0][0]
    finally:
        stop_all(settings.services)
