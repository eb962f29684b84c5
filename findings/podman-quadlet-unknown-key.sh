#!/bin/bash
# podman 5.4.2 (Debian 13): a key that a later podman added takes the whole unit away.
#
# ReloadCmd= came with podman 5.5. An older generator does not pass over a key that it does not know, as systemd does with
# unknown directives: it makes no unit of the file, so that the service is not there after daemon-reload.
# Seen: nothing on standard output, "unsupported key 'ReloadCmd'" on standard error, exit code 1. Without the key: a unit.
set -euo pipefail
dir=$(mktemp --directory)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir -p sources lists/partial cache/archives/partial units
cat >sources/trixie.sources <<'END'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
: >none
apt=(apt-get -qq -o Dir::Etc::SourceList="$dir/none" -o Dir::Etc::SourceParts="$dir/sources"
    -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update
"${apt[@]}" download podman=5.4.2+ds1-2+b2 libc6
for package in ./*.deb; do dpkg --extract "$package" tree; done

generate() {
    QUADLET_UNIT_DIRS=$dir/units "$dir/tree/usr/lib64/ld-linux-x86-64.so.2" \
        --library-path "$dir/tree/usr/lib/x86_64-linux-gnu" "$dir/tree/usr/libexec/podman/quadlet" --dryrun
}
printf '[Container]\nImage=localhost/a\n' >units/a.container
generate >out 2>err
grep --quiet '^ExecStart=' out
printf 'ReloadCmd=/bin/true\n' >>units/a.container
code=0
generate >out 2>err || code=$?
cat err
echo "exit code $code, $(wc --bytes <out) bytes of units"
grep --quiet "unsupported key 'ReloadCmd'" err
[[ $code == 1 && ! -s out ]]
