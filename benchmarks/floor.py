"""What the floors and the peer share: the questions, the scores, the means."""

import json
import re
import string
import sys
from collections.abc import Sequence
from pathlib import Path

from rouge_score_rs.rouge_scorer import RougeScorer


CONCURRENCY = 32
ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
ROUGE = RougeScorer(["rouge1"])

Rows = Sequence[dict[str, str]]


def read() -> tuple[str, Rows]:
    """Return the URL and the rows of the file that the command line names."""
    url, path = sys.argv[1:]
    return url, [json.loads(line) for line in Path(path).read_text().splitlines()]


def normalize(text: str) -> str:
    text = ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION))
    return " ".join(text.split())


def exact_match(reply: str, reference: str) -> float:
    return float(normalize(reply) == normalize(reference))


def rouge1(reply: str, reference: str) -> float:
    return ROUGE.score(reference, reply)["rouge1"].fmeasure


def print_means(rows: Rows, replies: Sequence[str]) -> None:
    pairs = [(reply, row["answer"]) for row, reply in zip(rows, replies, strict=True)]
    means = {
        metric.__name__: sum(metric(*pair) for pair in pairs) / len(pairs)
        for metric in (exact_match, rouge1)
    }
    print(json.dumps(means))
