#!/bin/sh
# Packs what `make build` left in bin/ into dist/bramble_VERSION_ARCH.deb. The same input gives the same bytes:
# times come from SOURCE_DATE_EPOCH (default: the last commit), owners are root.
# Usage: make-deb.sh BINARY DIRECTORY
set -eu
binary=$(readlink -f "$1")
mkdir -p "$2"
output=$(readlink -f "$2")
cd "$(dirname "$0")/.."
[ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
umask 022
version=$("$binary" version --json | sed -n 's/.*"version" *: *"\([^"]*\)".*/\1/p')
[ -n "$version" ] || { echo "$binary does not tell its version" >&2; exit 1; }
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/bramble

put() { install -D -m "$1" "$2" "$root/$3"; }
put 755 "$binary" usr/bin/bramble
put 644 deploy/bramble.service usr/lib/systemd/system/bramble.service
put 644 deploy/bramble-witness.service usr/lib/systemd/system/bramble-witness.service
put 644 deploy/bramble.yaml etc/bramble/bramble.yaml
put 644 deploy/debian/copyright usr/share/doc/bramble/copyright
(cd deploy/ansible && find . -type f) | while read -r file; do
    mode=644
    [ ! -x "deploy/ansible/$file" ] || mode=755
    put $mode "deploy/ansible/$file" "usr/share/bramble/ansible/$file"
done
for page in docs/operating/*.md; do put 644 "$page" "usr/share/doc/bramble/operating/$(basename "$page")"; done
install -d "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" \
    "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
gzip -9n <CHANGELOG.md >"$root/usr/share/doc/bramble/changelog.gz"
"$binary" man | gzip -9n >"$root/usr/share/man/man1/bramble.1.gz"
"$binary" completion bash >"$root/usr/share/bash-completion/completions/bramble"
"$binary" completion zsh >"$root/usr/share/zsh/vendor-completions/_bramble"
"$binary" completion fish >"$root/usr/share/fish/vendor_completions.d/bramble.fish"

install -d "$root/DEBIAN"
for script in postinst prerm postrm; do put 755 "deploy/debian/$script" "DEBIAN/$script"; done
echo /etc/bramble/bramble.yaml >"$root/DEBIAN/conffiles"
# dpkg-shlibdeps wants a source tree around it. libcurl is loaded only when the command line first needs it.
install -d "$work/debian"
printf 'Source: bramble\n\nPackage: bramble\nArchitecture: any\n' >"$work/debian/control"
# shellcheck disable=SC2086 # options
found=$(cd "$work" && dpkg-shlibdeps ${SHLIBDEPS_OPTIONS:-} -O "$root/usr/bin/bramble" 2>"$work/shlibdeps.log") || {
    cat "$work/shlibdeps.log" >&2
    exit 1
}
libraries=${found#shlibs:Depends=}
(cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<CONTROL
Package: bramble
Version: $version
Architecture: $architecture
Maintainer: The authors of Bramble <bramble@localhost>
Installed-Size: $(du -k --apparent-size -s --exclude=DEBIAN "$root" | cut -f1)
Depends: $libraries, libcurl4, init-system-helpers (>= 1.54)
Section: admin
Priority: optional
Description: dependable cluster of a few small machines
 Bramble turns a few small Linux machines, such as Raspberry Pis, into one
 dependable cluster: they find each other, know who is alive and agree on it
 within half a second. Two machines are enough.
 .
 This package starts the node as a service. A machine with a cluster key
 joins its cluster by itself; one without waits to be invited.
CONTROL
package=$output/bramble_${version}_$architecture.deb
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Z"${DEB_COMPRESSION:-xz}" --build "$root" "$package" >/dev/null
echo "built $package"
