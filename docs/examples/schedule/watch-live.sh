#!/bin/sh
# Asks the live version NAME@ALIAS afresh, and takes it back when a gate fails.
cd "$(dirname "$0")" || exit
./nightly-evals.sh --llmeval-model "models:/$1" --llmeval-cache refresh && exit
status=$?

# Refused where no gate has failed for sure, or another version is live by now.
if [ "$status" -eq 1 ]; then
    .venv/bin/llmeval deploy rollback --yes --target "registry:$1" \
        --failed ".llmeval/runs/$(cat .llmeval/last)/verdict.json" >&2
fi
exit "$status"
