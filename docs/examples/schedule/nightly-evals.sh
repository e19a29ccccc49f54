#!/bin/sh
# Evaluates the project that this script lies in; its arguments go to pytest.
cd "$(dirname "$0")" || exit
mkdir -p logs
night="logs/$(date +%Y-%m-%d)"

exec 9>logs/lock
if ! flock -n 9; then
    echo "nightly evals: the run before has not ended yet, so none was started" >&2
    exit 75
fi

# pytest does not inherit the lock, which a server that it leaves behind would keep.
.venv/bin/python -m pytest evals/ --llmeval-require --junitxml="$night.xml" "$@" \
    >>"$night.log" 2>&1 9>&-
status=$?

if [ "$status" -ne 0 ]; then
    echo "nightly evals: pytest ended with $status, see $(pwd)/$night.log" >&2
    tail -n 20 "$night.log" >&2
fi
exit "$status"
