#!/bin/bash
# libfaketime 0.9.10 (Debian 12): a process that is killed leaves its shared memory and semaphore behind.
#
# faketime(1) makes /dev/shm/faketime_shm_PID and /dev/shm/sem.faketime_sem_PID, named after its own pid, and nothing but the
# orderly end of that process removes them. A test suite that kills what it runs fills /dev/shm, and the numbers come again.
# Seen: both files are there after a SIGKILL, and neither after a normal end.
set -euo pipefail
dir=$(mktemp --directory)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq -o APT::Sandbox::User=root download faketime=0.9.10-2.1 libfaketime=0.9.10-2.1
for package in ./*.deb; do dpkg --extract "$package" tree; done
library=$dir/tree/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1

# A /dev/shm of its own, so that nothing is left on the machine.
# shellcheck disable=SC2016
unshare --mount sh -c '
    mount -t tmpfs tmpfs /dev/shm
    LD_PRELOAD=$0 FAKETIME=-1d sleep 0
    echo "after a normal end: $(ls /dev/shm | wc -l) files"
    LD_PRELOAD=$0 FAKETIME=-1d sleep 60 &
    until [ -e "/dev/shm/faketime_shm_$!" ]; do :; done
    kill -KILL $!
    wait $! || true
    for file in "faketime_shm_$!" "sem.faketime_sem_$!"; do
        [ -e "/dev/shm/$file" ] && echo "left by the killed process: ${file%_*}_PID"
    done
' "$library" 2>/dev/null | tee out
grep --quiet '^after a normal end: 0 files$' out
grep --quiet '^left by the killed process: faketime_shm_PID$' out
grep --quiet '^left by the killed process: sem.faketime_sem_PID$' out
