"""The least that tracking costs: MLflow's import and the start of a fresh store."""

import tempfile

import mlflow


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        client.search_experiments()
