#!/usr/bin/env bash
# test.sh: the packages' life in a fresh Debian: install, run, upgrade with messages there, remove, purge; then the same tree as a container.
#
# Needs root: Debian is unpacked into build/package-test (debootstrap, from the mirror that this machine's apt uses), and everything that runs
# in it has its own processes, mounts and network, in which there is loopback alone. Called by `./dev package --test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
test=$(realpath -m build/package-test)
chroot=$test/chroot
packages=$test/packages
mirror=$(sed -n 's/^URIs: *\(http[^ ]*debian\)\/*$/\1/p; s/^deb \(http[^ ]*debian\)\/* .*/\1/p' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list \
    2>/dev/null | head -n 1) || true
arch=$(dpkg --print-architecture)
failed=0

say() { printf -- '--- %s\n' "$*"; }
# check WHAT COMMAND...: the command has to succeed.
check() {
    local what=$1
    shift
    if "$@" >"$test/out" 2>&1; then
        echo "ok    $what"
    else
        echo "FAILED $what"
        sed 's/^/      /' "$test/out"
        failed=1
    fi
}
in_chroot() { chroot "$chroot" "$@"; }
says() { # TEXT COMMAND...: the command's output has the text in it
    local text=$1
    shift
    "$@" >"$test/says" 2>&1 || { cat "$test/says"; return 1; }
    grep -qF -- "$text" "$test/says" || { cat "$test/says"; return 1; }
}
until_true() { # COMMAND...: at most two minutes
    local i
    for ((i = 0; i < 600; i++)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    "$@"
}

# --- a Debian ---------------------------------------------------------------------------------------------------------------

mounts=("$chroot/proc" "$chroot/dev/shm")
inside=0 # the process outside of which the namespaces are seen
clean() {
    ((inside == 0)) || kill -KILL "$inside" 2>/dev/null || true
    local m
    for m in "${mounts[@]}"; do
        mountpoint -q "$m" && umount "$m"
    done
    return 0
}
trap clean EXIT
[[ $EUID == 0 ]] || { echo 'needs root' >&2; exit 77; }
[[ -n $mirror ]] || { echo "apt's sources name no mirror of Debian over HTTP" >&2; exit 77; }
clean
mkdir -p "$test"
if [[ ! -f $test/base.tar ]]; then
    say "debootstrap from $mirror"
    debootstrap --variant=minbase --make-tarball="$test/base.tar" bookworm "$test/download" "$mirror" >"$test/debootstrap.log" ||
        { tail "$test/debootstrap.log"; exit 1; }
fi
rm -rf "$chroot"
debootstrap --variant=minbase --unpack-tarball="$test/base.tar" bookworm "$chroot" "$mirror" >"$test/debootstrap.log" ||
    { tail "$test/debootstrap.log"; exit 1; }
cp /etc/resolv.conf "$chroot/etc/"
printf '#!/bin/sh\nexit 101\n' >"$chroot/usr/sbin/policy-rc.d" # nothing starts by itself
chmod 755 "$chroot/usr/sbin/policy-rc.d"
mount -t proc proc "$chroot/proc"

# --- install ----------------------------------------------------------------------------------------------------------------

rm -rf "$packages"
etc/debian/package.sh "$packages" 0.1.0-1 >/dev/null
etc/debian/package.sh "$packages" 0.1.0-2 >/dev/null
mkdir -p "$chroot/packages"
cp "$packages"/*.deb "$chroot/packages/"
say install
export DEBIAN_FRONTEND=noninteractive
apt() { in_chroot apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }
check 'apt-get update' apt update
check 'install' apt install /packages/leveret_0.1.0-1_$arch.deb /packages/leveret-rabbitmq-names_0.1.0-1_all.deb amqp-tools
if ((failed)); then exit 1; fi # nothing else would make sense
check 'there is a user' says /var/lib/leveret in_chroot getent passwd leveret
check 'the data directory is its alone' says 'leveret:leveret 700' in_chroot stat -c '%U:%G %a' /var/lib/leveret
check 'the configuration is good' in_chroot leveretd --check-config
check 'the unit is enabled' test -L "$chroot/etc/systemd/system/multi-user.target.wants/leveretd.service"
check 'manual pages' test -f "$chroot/usr/share/man/man8/leveretd.8.gz"
# --- run: as process 1 of its own namespaces, as a container has it ---------------------------------------------------------

umount "$chroot/proc"
log=$test/log
# start [VARIABLE=VALUE...]: leveretd as process 1, with the command of etc/Dockerfile.
start() {
    unshare --pid --fork --mount --net --uts --ipc --kill-child=KILL sh -c 'mount -t proc proc "$0/proc" && ip link set lo up && chroot=$0 &&
        exec chroot --userspec=leveret:leveret "$chroot" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' \
        "$chroot" "$@" $(sed -n 's/^CMD \[\(.*\)\]$/\1/p' etc/Dockerfile | tr -d '",') >"$log" 2>&1 &
    outside=$!
    until_true pgrep -P "$outside"
    inside=$(pgrep -P "$outside")
}
# Commands beside it, as `docker exec` runs them.
beside() { nsenter -t "$inside" -p -m -n -u -i chroot "$chroot" "$@"; }
as_user() { nsenter -t "$inside" -p -m -n -u -i chroot --userspec=leveret:leveret "$chroot" "$@"; }
up() { [[ $(as_user rabbitmq-diagnostics -q ping) == 'Ping succeeded' ]]; }
stop() { # it has to end by itself, with 0
    kill -TERM "$inside"
    inside=0
    wait "$outside"
}
no_sleep_left() { ! beside sh -c 'grep -q "^Name:.sleep" /proc/[0-9]*/status'; }
all_gone() { for path in "$@"; do [[ ! -e $chroot/$path ]] || { echo "$path is there"; return 1; }; done; }

say 'run as process 1'
start RABBITMQ_DEFAULT_USER=me RABBITMQ_DEFAULT_PASS=secret RABBITMQ_DEFAULT_VHOST=mine
check 'rabbitmq-diagnostics -q ping' until_true up
check 'it is process 1' says leveretd beside cat /proc/1/comm
check 'it runs as its user' says "$(in_chroot id -u leveret)" beside stat -c %u /proc/1
check 'it logs to standard output' grep -q leveret "$log"
check 'the user of the environment' says Success beside rabbitmqctl authenticate_user me secret
check 'there is no guest' says "$(printf 'me\t[administrator]')" beside rabbitmqctl -q list_users
check 'the vhost of the environment' says mine beside rabbitmqctl -q list_vhosts
check 'plugins are enabled' beside rabbitmq-plugins enable rabbitmq_management
check 'HTTP as that user' beside leveretctl -n http://me:secret@127.0.0.1 list_queues -p mine
check 'rabbitmqadmin' says rabbitmq_version beside rabbitmqadmin -u me -p secret show overview
check 'a queue' beside amqp-declare-queue --url=amqp://me:secret@127.0.0.1/mine -d -q jobs
check 'a message' beside amqp-publish --url=amqp://me:secret@127.0.0.1/mine -r jobs -p -b kept
beside sh -c '(sleep 1 &)'
check 'orphans are buried' until_true no_sleep_left
check 'the control socket is closed to others' says 600 stat -c %a "$chroot/var/lib/leveret/control.sock"
check 'SIGTERM ends it' stop

# --- upgrade ----------------------------------------------------------------------------------------------------------------

say upgrade
echo 'heartbeat = 33' >>"$chroot/etc/leveret/leveret.conf"
mount -t proc proc "$chroot/proc"
check 'upgrade' apt -o Dpkg::Options::=--force-confold install /packages/leveret_0.1.0-2_$arch.deb /packages/leveret-rabbitmq-names_0.1.0-2_all.deb
umount "$chroot/proc"
check 'the version is new' says 0.1.0-2 in_chroot dpkg-query -W -f '${Version}' leveret
start
check 'it is up again' until_true up
check 'the message is there' says "$(printf 'jobs\t1')" beside rabbitmqctl -q list_queues -p mine
check 'the configuration is as it was left' says '"heartbeat":{"value":"33"' beside leveretctl environment --formatter json
check 'SIGTERM ends it' stop

# --- remove, purge ----------------------------------------------------------------------------------------------------------

say 'remove, purge'
mount -t proc proc "$chroot/proc"
check 'remove' apt remove leveret leveret-rabbitmq-names
check 'programs are gone' all_gone usr/bin/leveretd usr/bin/leveretctl usr/sbin/rabbitmqctl lib/systemd/system/leveretd.service
check 'messages stay' test -e "$chroot/var/lib/leveret/lock"
check 'the configuration stays' grep -q 'heartbeat = 33' "$chroot/etc/leveret/leveret.conf"
check 'purge' apt purge leveret leveret-rabbitmq-names
check 'nothing is left' all_gone var/lib/leveret var/log/leveret etc/leveret etc/systemd/system/multi-user.target.wants/leveretd.service
check 'nor the user' says gone sh -c "chroot '$chroot' getent passwd leveret || echo gone"
umount "$chroot/proc"

if command -v lintian >/dev/null; then
    check lintian lintian --allow-root --fail-on error "$packages"/*_0.1.0-2_*.deb
fi
((failed)) || say 'all well'
exit $failed
