#!/bin/sh
# Installs the Debian packages of a list that are missing, after saying which.
# Usage: setup.sh packages.txt [purpose...]   (all purposes without one)
set -eu
list=$1
shift
wanted=$(awk -v purposes=" $* " '$1 !~ /^#/ && NF { if (purposes == "  " || index(purposes, " " $2 " ")) print $1 }' "$list")
missing=""
for package in $wanted; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "These Debian packages are missing and will be installed:$missing"
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "Not root, and there is no sudo. As root, run: apt-get install$missing" >&2
        exit 1
    }
    sudo=sudo
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of words on purpose
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
