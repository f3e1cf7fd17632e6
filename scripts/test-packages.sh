#!/usr/bin/env bash
# Tests the packages: builds two versions, and installs, runs, upgrades under load,
# removes and purges them on a Debian with systemd in the lab, beside
# systemd-networkd and NetworkManager. Some two minutes the first time, less than
# one when the Debian is there: it is kept in build/debian.
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

readonly root=build/debian
if [ ! -e "$root.done" ]; then
	rm -rf "$root"
	mkdir -p build
	# shellcheck disable=SC2016 # $1 is mmdebstrap's
	mmdebstrap --quiet --variant=minbase \
		--include=systemd-sysv,dbus,iproute2,procps,man-db,network-manager \
		--customize-hook='systemctl --quiet --root="$1" disable NetworkManager NetworkManager-wait-online NetworkManager-dispatcher' \
		"$suite" "$root"
	touch "$root.done"
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
