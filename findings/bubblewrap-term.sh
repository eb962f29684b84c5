#!/bin/bash
# bubblewrap 0.8.0 (Debian 12): TERM to bwrap ends bwrap, and the program in the sandbox hears nothing of it.
#
# bwrap forwards no signal. A supervisor that stops `bwrap ... program` with TERM sees it gone at once and believes the stop
# done, while the program goes on without having been asked. (With --die-with-parent it is killed instead.)
# Seen: bwrap dies of TERM; the program's handler does not run; the program still writes a second later.
set -euo pipefail
dir=$(mktemp --directory)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq -o APT::Sandbox::User=root download bubblewrap=0.8.0-2+deb12u1
dpkg --extract bubblewrap_*.deb tree
cat >program <<'END'
trap 'echo asked >>heard; exit 0' TERM
echo ready >heard
i=0
while [ $i -lt 40 ]; do i=$((i + 1)); echo $i >beat; sleep 0.1; done
echo "ended by itself" >>heard
END
tree/usr/bin/bwrap --bind / / --dev /dev sh program &
until [[ -s heard ]]; do sleep 0.05; done
kill -TERM $!
code=0
wait $! || code=$?
at=$(cat beat)
until grep --quiet itself heard; do sleep 0.1; done
echo "bwrap ended with $code at beat $at; the program: $(tr '\n' ' ' <heard)"
[[ $code == 143 && $at -lt 35 ]]
! grep --quiet asked heard
