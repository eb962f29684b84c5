#!/bin/bash
# What sexton does, in one minute: builds it, plays a gateway's crash and its next start, and checks each claim.
#
#   examples/demo.sh          needs Rust and Linux; as root, or as a user who may make user namespaces
#
# Each container of the play is a new pid namespace with sexton as its PID 1. The gateway is a shell script that
# takes a session lock as OpenClaw does: a file with its pid in it.
set -euo pipefail
cd "$(dirname "$0")/.."

# --- The gateway, when this script is started as one ------------------------------------------------------------

if [[ ${1-} == --as-gateway ]]; then
    play=$2
    lock=$OPENCLAW_STATE_DIR/agents/main/sessions/chat.jsonl.lock
    echo $$ >"$play/gateway.pid"
    # A lock is taken by creating its file, which only one can do.
    set -o noclobber
    if ! printf '{"pid":%d,"createdAt":"%(%FT%TZ)T","maxHoldMs":1800000}\n' $$ -1 2>/dev/null >"$lock"; then
        echo "session file locked" >"$play/failure"
        exit 1
    fi
    set +o noclobber
    touch "$play/has-lock"
    [[ ${3-} == --hang ]] && exec sleep 60

    # A helper that loses its parent and ends: without somebody who reaps, it stays a zombie for ever.
    (sleep 0.1 & echo $! >"$play/orphan.pid")
    # A daemon that left the session and the process group, where no signal to either reaches it.
    # shellcheck disable=SC2016 # The daemon's own shell is to expand this.
    (setsid bash -c '
        trap "echo TERM >$0/daemon.got; exit" TERM
        echo $$ >"$0/daemon.pid"
        while :; do sleep 0.1; done' "$play" 2>/dev/null &)
    while [[ ! -s $play/daemon.pid || ! -s $play/orphan.pid ]]; do sleep 0.05; done
    for _ in {1..100}; do
        grep -s '^State' "/proc/$(<"$play/orphan.pid")/status" >"$play/orphan.state" || break
        sleep 0.05
    done
    # It ends without giving its lock back, and leaves its daemon behind.
    exit 42
fi

# --- The play ---------------------------------------------------------------------------------------------------

echo "Building sexton ..."
cargo build --quiet --release --bin sexton
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
sexton=$target/release/sexton

play=$(mktemp --directory)
trap 'rm -rf "$play"' EXIT
export OPENCLAW_STATE_DIR=$play/state
lock=$OPENCLAW_STATE_DIR/agents/main/sessions/chat.jsonl.lock
mkdir -p "${lock%/*}"

namespace=(unshare --pid --fork --kill-child --mount-proc)
((EUID)) && namespace+=(--user --map-root-user)
container=("${namespace[@]}" "$sexton" -v -- "$BASH" "$PWD/examples/demo.sh" --as-gateway "$play")

failed=0
# claim TEXT COMMAND...: says whether the command agrees.
claim() {
    local text=$1
    shift
    if "$@"; then
        echo "  ✓ $text"
    else
        echo "  ✗ $text"
        failed=1
    fi
}

echo
echo "1. A gateway runs under sexton, takes its session lock, and the whole container is killed."
"${container[@]}" --hang 2>/dev/null &
unshare=$!
for _ in {1..100}; do
    [[ -e $play/has-lock ]] && break
    sleep 0.05
done
# Standard error is for the shell's own remark about the job that was killed.
{ kill -KILL $unshare && wait $unshare; } 2>/dev/null || true
first=$(<"$play/gateway.pid")
claim "the lock is left behind: $(<"$lock")" test -s "$lock"

echo
echo "2. The container starts again."
began=${EPOCHREALTIME/[.,]/}
code=0
"${container[@]}" 2>"$play/log" || code=$?
took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
second=$(<"$play/gateway.pid")
sed 's/^/      /' "$play/log"
claim "the gateway is pid $second, as the dead one was: 'is that pid alive?' says yes" test "$first" = "$second"
claim "sexton removed the dead one's lock all the same" grep -q "lock-removed.*chat.jsonl.lock" "$play/log"
claim "so the gateway got its lock" test ! -e "$play/failure"
claim "the orphan that ended is gone, and no zombie" test ! -s "$play/orphan.state"
claim "the daemon, in a session of its own, was asked with TERM" grep -qs TERM "$play/daemon.got"
claim "nobody's window was slept out: all of it took $took ms" test "$took" -lt 5000
claim "the lock that the gateway left at its end is gone" test ! -e "$lock"
claim "the exit code is the gateway's own: $code" test "$code" = 42

echo
if ((failed)); then
    echo "Something above is not as it should be."
else
    echo "All of it is as sexton promises."
fi
exit "$failed"
