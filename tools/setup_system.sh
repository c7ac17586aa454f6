#!/bin/sh
# Installs the Debian packages that a real Kubernetes node in the e2e tests needs (see
# e2e/controlplane/README.md), Prometheus, by which alerts are tested, Redis, and a JDK for Spark
# where there is none. Called by `make setup-system` and, under CI=true, by `make test`; nothing else
# here touches the system.
# Where it can't install, it says so and fails; under CI=true it only says so.
set -eu
packages="runc containernetworking-plugins nftables iproute2 conntrack buildah debootstrap
debian-archive-keyring util-linux mount prometheus redis-server redis-sentinel"
command -v javac >/dev/null 2>&1 || packages="$packages default-jdk-headless"

give_up() {
    echo "$1 The tests on a real node, with Prometheus, Redis and Spark are skipped." >&2
    [ "${CI:-}" = true ] && exit 0
    exit 1
}

command -v apt-get >/dev/null 2>&1 || give_up "No apt-get here; the packages of Debian are: $packages."
missing=
for package in $packages; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then
    echo "All Debian packages that the tests use are installed."
    exit 0
fi
[ "$(id -u)" = 0 ] || give_up "Not root. Run: sudo apt-get install$missing."
echo "Installing:$missing"
# shellcheck disable=SC2086  # a list of words; RUNLEVEL=1: no service of theirs is started
apt-get update -qq &&
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    give_up "apt-get failed."
