#!/usr/bin/env bash
# Packages for Debian, Fedora, Alpine and OpenWrt, and their relatives.
#
#   scripts/package.sh [deb] [rpm] [apk] [ipk]    default: all four
#
# They are written to build/dist, or $DIST. The environment says what is built:
#
#   VERSION      1.2.3 or 1.2.3-rc1; of git by default: of its tag, or
#                0.0.0-git with the commit's time
#   ARCHES       of Go's names; "amd64 arm64" by default
#   OPENWRT_ARCH OpenWrt's name of the one architecture of ARCHES, where it is
#                another than x86_64 and aarch64_generic
#
# The same source makes the same packages, byte for byte.
source "$(dirname "$0")/common.sh"

# Later versions need modules that the Go module proxy does not serve.
readonly nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

[ $# -gt 0 ] || set -- deb rpm apk ipk
need_go
export CGO_ENABLED=0
dist=${DIST:-build/dist}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
if [ -z "${VERSION:-}" ]; then
	if tag=$(git describe --tags --match 'v[0-9]*' --exact-match 2>/dev/null); then
		VERSION=${tag#v}
	else
		VERSION=0.0.0-git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)
	fi
fi
[[ $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+[0-9]+)?$ ]] ||
	fail "VERSION $VERSION is none that all four kinds of packages know" "such as 1.2.3, or 1.2.3-rc1"

put() { install -D -m "$1" "$2" "$3"; } # put MODE FILE PATH: FILE into a package

# zipped PATH: FILE, compressed, without the time
zipped() { mkdir -p "$(dirname "$2")" && gzip -9n <"$1" >"$2" && chmod 644 "$2"; }

# generated makes what braid says of itself: manuals and completions.
generated() {
	local shell out=$stage/generated
	mkdir -p "$out/man"
	go build -trimpath -tags man -ldflags "-X main.version=$VERSION" -o "$stage/self" ./cmd/braid
	"$stage/self" man "$out/man"
	for shell in bash zsh fish; do
		"$stage/self" completion "$shell" >"$out/$shell"
	done
}

# common KIND: what all but OpenWrt's have beside the program.
common() {
	local to=$1 page doc=$1/usr/share/doc/braid
	for page in "$stage"/generated/man/*; do
		zipped "$page" "$to/usr/share/man/man1/${page##*/}.gz"
	done
	put 644 "$stage/generated/bash" "$to/usr/share/bash-completion/completions/braid"
	put 644 "$stage/generated/fish" "$to/usr/share/fish/vendor_completions.d/braid.fish"
	put 644 "$stage/generated/zsh" "$to/$2/_braid"
	for page in README.md CHANGELOG.md docs/guide-*.md docs/configuration.md docs/operations.md docs/metrics.md docs/protocol.md docs/design.md docs/benchmarks.md; do
		put 644 "$page" "$doc/${page##*/}"
	done
	for page in docs/pictures/*; do
		put 644 "$page" "$doc/pictures/${page##*/}"
	done
	for page in config/example/*.toml; do
		put 644 "$page" "$doc/examples/${page##*/}"
	done
	put 644 packaging/prometheus/braid.rules.yml "$doc/examples/braid.rules.yml"
	put 644 packaging/grafana/braid.json "$doc/examples/braid.grafana.json"
}

# systemd TREE: units, user, what keeps managers of networks away, and what lets the
# client speak to systemd-resolved.
systemd() {
	local lib=$1/usr/lib unit
	for unit in server client; do
		put 644 "packaging/systemd/braid-$unit.service" "$lib/systemd/system/braid-$unit.service"
	done
	# One more client beside the first is the same unit with another file.
	sed -e 's|/etc/braid/client.toml|/etc/braid/%i.toml|; s|^ExecStart=.*|& -c /etc/braid/%i.toml|; s|enable --now braid-client|&@NAME|; s|^Description=.*|& %i|' \
		packaging/systemd/braid-client.service >"$stage/template"
	put 644 "$stage/template" "$lib/systemd/system/braid-client@.service"
	put 644 packaging/sysusers.conf "$lib/sysusers.d/braid.conf"
	put 644 packaging/tmpfiles.conf "$lib/tmpfiles.d/braid.conf"
	put 644 packaging/network/networkmanager.conf "$lib/NetworkManager/conf.d/90-braid.conf"
	put 644 packaging/network/networkd.conf "$lib/systemd/networkd.conf.d/90-braid.conf"
	put 644 packaging/network/braid.network "$lib/systemd/network/05-braid.network"
	put 644 packaging/network/polkit.rules "$1/usr/share/polkit-1/rules.d/braid.rules"
}

lay_deb() {
	common "$1" usr/share/zsh/vendor-completions
	put 644 LICENSE "$1/usr/share/doc/braid/copyright"
	systemd "$1"
}

lay_rpm() {
	common "$1" usr/share/zsh/site-functions
	put 644 LICENSE "$1/usr/share/licenses/braid/LICENSE"
	systemd "$1"
}

lay_apk() {
	common "$1" usr/share/zsh/site-functions
	put 644 LICENSE "$1/usr/share/licenses/braid/LICENSE"
	put 755 packaging/openrc/braid-server "$1/etc/init.d/braid-server"
	put 755 packaging/openrc/braid-client "$1/etc/init.d/braid-client"
	install -d -m 700 "$1/etc/braid"
}

# A router has little room: no manuals.
lay_ipk() {
	put 755 packaging/openwrt/braid.init "$1/etc/init.d/braid"
	install -d -m 700 "$1/etc/braid"
	put 644 config/example/client.toml "$1/usr/share/braid/client.toml"
	put 644 config/example/server.toml "$1/usr/share/braid/server.toml"
	put 644 LICENSE "$1/usr/share/braid/LICENSE"
}

# name_of ARCH KIND: OpenWrt has names of its own, and nfpm knows all others.
name_of() {
	local name=$1
	[ "$2" != ipk ] || name=${OPENWRT_ARCH:-$1}
	case $2/$name in
	ipk/amd64) echo x86_64 ;;
	ipk/arm64) echo aarch64_generic ;;
	*) echo "$name" ;;
	esac
}

generated
GOBIN=$stage go install "$nfpm"
mkdir -p "$dist"
for arch in ${ARCHES:-amd64 arm64}; do
	GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$stage/braid-$arch" ./cmd/braid
	for kind in "$@"; do
		tree=$stage/$kind-$arch
		"lay_$kind" "$tree"
		put 755 "$stage/braid-$arch" "$tree/usr/bin/braid"
		find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
		out=$(STAGE=$tree ARCH=$(name_of "$arch" "$kind") VERSION=$VERSION \
			"$stage/nfpm" package --config packaging/nfpm.yaml --packager "$kind" --target "$dist" 2>&1) || fail "$out"
		echo "${out##*: }"
	done
done
