"""The same questions and metrics with `mlflow.genai.evaluate`."""

import json
import os
import tempfile
from typing import Any

from benchmarks.floor import CONCURRENCY
from benchmarks.floor import Rows
from benchmarks.floor import exact_match
from benchmarks.floor import read
from benchmarks.floor import rouge1


# With the default pool of connections its workers wait for each other for minutes.
os.environ["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] = "80"
os.environ["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"] = "100"
os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = str(CONCURRENCY)


def evaluate(url: str, rows: Rows) -> dict[str, float]:
    import mlflow  # after the environment is set
    from mlflow.genai.scorers import scorer
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="none")

    def predict(question: str) -> str:
        message = {"role": "user", "content": question}
        reply = client.chat.completions.create(model="bench", messages=[message])
        return reply.choices[0].message.content

    def scored_by(metric: Any) -> Any:
        def score(outputs: str, expectations: dict[str, str]) -> float:
            return metric(outputs, expectations["answer"])

        return scorer(score, name=metric.__name__)

    result = mlflow.genai.evaluate(
        data=[
            {
                "inputs": {"question": row["question"]},
                "expectations": {"answer": row["answer"]},
            }
            for row in rows
        ],
        predict_fn=predict,
        scorers=[scored_by(exact_match), scored_by(rouge1)],
    )
    return {name: result.metrics[f"{name}/mean"] for name in ("exact_match", "rouge1")}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        print(json.dumps(evaluate(*read())))
