"""An application around the embedded model, logged to MLflow as code.

A version is this code and a prompt; the prompt comes with the logged model's config.
"""

import threading

import mlflow
from mlflow.pyfunc import PythonModel


class DocsQA(PythonModel):
    """Answers questions about a documentation passage."""

    def load_context(self, context):
        """Start the engine: one slot, one thread, no log."""
        import xllamacpp

        from pytest_llmeval.backends.llamacpp import find_known

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(find_known("smollm2"))
        parameters.n_ctx = 2048
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = 1
        parameters.cpuparams_batch.n_threads = 1
        parameters.verbosity = -1
        self.engine = xllamacpp.Server(parameters)
        self.lock = threading.Lock()
        self.prompt = context.model_config["prompt"]

    def predict(self, model_input: list[str]) -> list[str]:
        """Answer each question; the passage and the question are separated by ###."""
        return [self._answer(text) for text in model_input]

    def _answer(self, text):
        passage, _, question = text.partition("###")
        message = self.prompt.replace("{passage}", passage.strip())
        message = message.replace("{question}", question.strip())
        with self.lock:
            reply = self.engine.handle_chat_completions(
                {
                    "messages": [
                        {"role": "system", "content": "You answer questions briefly."},
                        {"role": "user", "content": message},
                    ],
                    "temperature": 0,
                    "max_tokens": 24,
                    "cache_prompt": False,
                }
            )
        return reply["choices"][0]["message"]["content"]


mlflow.models.set_model(DocsQA())
