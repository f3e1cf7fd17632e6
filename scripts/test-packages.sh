#!/usr/bin/env bash
# Tests the packages: builds two versions, and installs, runs, upgrades under load,
# removes and purges them on a Debian with systemd in the lab, beside
# systemd-networkd and NetworkManager. Follows the guides in docs, word for word, on
# a server, a router and a laptop. Some three minutes the first time, less than two
# when the Debian is there: it is kept in build/debian.
#
#   scripts/test-packages.sh [FLAGS OF go test]
source "$(dirname "$0")/common.sh"

need_root
need_go
need_kernel
need_commands mmdebstrap=mmdebstrap ip=iproute2 nft=nftables curl=curl rpm=rpm

# The same Debian as this one, if it is one.
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -e /usr/share/mmdebstrap/hooks ] && [ -e /etc/debian_version ] || suite=bookworm

# What a guide lets its reader install is there: the lab has no mirror of Debian's. It
# is off, for the machines that shall not have it.
readonly root=build/debian
readonly include=systemd-sysv,dbus,iproute2,procps,man-db,network-manager,systemd-resolved,polkitd,dnsmasq,iputils-ping
if [ "$(cat "$root.done" 2>/dev/null)" != "$suite $include" ]; then
	rm -rf "$root"
	mkdir -p build
	# shellcheck disable=SC2016 # $1 is mmdebstrap's
	mmdebstrap --quiet --variant=minbase --include="$include" \
		--customize-hook='systemctl --quiet --root="$1" disable NetworkManager NetworkManager-wait-online NetworkManager-dispatcher systemd-resolved dnsmasq' \
		--customize-hook='rm -f "$1/etc/resolv.conf"; touch "$1/etc/resolv.conf"' \
		"$suite" "$root"
	echo "$suite $include" >"$root.done"
fi

arch=$(go env GOARCH)
for version in 0.0.1 0.0.2; do
	DIST=build/test-packages ARCHES=$arch VERSION=$version scripts/package.sh deb
done
rm -rf build/test-packages/all
DIST=build/test-packages/all ARCHES=$arch VERSION=0.0.2 scripts/package.sh
export BRAID_ROOT=$PWD/$root BRAID_OTHERS=$PWD/build/test-packages/all
export BRAID_DEB=$PWD/build/test-packages/braid_0.0.1-1_$arch.deb BRAID_DEB_NEWER=$PWD/build/test-packages/braid_0.0.2-1_$arch.deb
go test -count=1 -timeout 10m -tags packages "$@" ./lab/install
