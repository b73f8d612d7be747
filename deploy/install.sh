#!/bin/sh
# Puts Bramble on this machine (Debian 12 or Raspberry Pi OS, 64 bit), or takes it off.
#   install.sh [FILE.deb]      install or upgrade; without a file, the newest in dist/, else one is built
#   install.sh --uninstall     remove the program; identity, cluster key and settings stay
#   install.sh --purge         remove everything, the identity and the cluster key too
# Running it twice changes nothing.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
say() { printf 'install: %s\n' "$*"; }
fail() {
    printf 'install: %s\n         %s\n' "$1" "$2" >&2
    exit "${3:-1}"
}

package=""
action=install
case "${1:-}" in
"") ;;
--uninstall) action=remove ;;
--purge) action=purge ;;
-h | --help)
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
-*) fail "unknown option $1" "it takes a .deb file, --uninstall or --purge" 2 ;;
*) package=$1 ;;
esac

[ "$(id -u)" = 0 ] || fail "this needs root" "run: sudo $0 $*"
command -v apt-get >/dev/null || fail "there is no apt-get here" "Bramble is packaged for Debian 12 and Raspberry Pi OS (64 bit)"

if [ "$action" != install ]; then
    if ! dpkg-query -W bramble >/dev/null 2>&1; then
        say "Bramble is not installed; nothing to do"
        exit 0
    fi
    say "removing Bramble ($action)"
    DEBIAN_FRONTEND=noninteractive apt-get "$action" -y -qq bramble >/dev/null
    [ "$action" = remove ] && say "kept: /etc/bramble (settings), /var/lib/bramble (identity and cluster key)"
    say "done. On a node that stays: bramble node remove $(hostname), or it is listed as down for ever"
    exit 0
fi

if [ -z "$package" ]; then
    # shellcheck disable=SC2012 # our own file names
    package=$(ls -t "$here"/dist/bramble_*_"$(dpkg --print-architecture)".deb 2>/dev/null | head -n 1)
    if [ -z "$package" ]; then
        command -v swift >/dev/null || fail "there is no package in dist/ and no Swift to build one" \
            "build on a machine of the same kind with: make deb; then: sudo $0 FILE.deb"
        say "building the package (a few minutes)"
        make -C "$here" deb
        # shellcheck disable=SC2012
        package=$(ls -t "$here"/dist/bramble_*.deb | head -n 1)
    fi
fi
[ -r "$package" ] || fail "cannot read $package" "give the path of a .deb that make deb has built"
architecture=$(dpkg-deb --field "$package" Architecture) || fail "$package is no Debian package" "build one with: make deb"
[ "$architecture" = "$(dpkg --print-architecture)" ] ||
    fail "$package is for $architecture, this machine is $(dpkg --print-architecture)" "build it on a machine of this kind"
version=$(dpkg-deb --field "$package" Version)
installed=$(dpkg-query -W -f='${Version}' bramble 2>/dev/null || true)
if [ "$installed" = "$version" ] &&
    dpkg-deb --fsys-tarfile "$package" | tar -xO ./usr/bin/bramble | cmp -s - /usr/bin/bramble; then
    say "Bramble $version is already installed"
else
    say "installing Bramble $version and the libraries it needs"
    # apt wants a path with a slash; conffiles that were edited stay.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --allow-downgrades --reinstall \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$(readlink -f "$package")" >/dev/null
fi

if [ -d /run/systemd/system ]; then
    systemctl is-active --quiet bramble || systemctl start bramble || true
    systemctl is-active --quiet bramble || fail "the service does not start" "see why: journalctl -u bramble -n 20"
    say "the service runs and starts with the machine"
else
    say "systemd does not run here; start it by hand: bramble start --config /etc/bramble/bramble.yaml"
fi
if [ -e /var/lib/bramble/cluster.key ]; then
    say "this machine has a cluster key; see its cluster with: bramble nodes"
else
    say "for a new cluster:    sudo bramble init --cluster NAME"
    say "to join another:      press Add on its dashboard and compare the code that bramble status shows here"
fi
