# Sourced by the other scripts: checks what braid cannot do without, and
# installs what is only missing. Debian and its relatives are installed on;
# elsewhere the script says what to install.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
	echo "error: $1" >&2
	[ $# -lt 2 ] || echo "hint: $2" >&2
	exit 1
}

# need_go finds Go 1.26 or newer (go itself fetches the exact toolchain that
# go.mod asks for).
need_go() {
	if ! command -v go >/dev/null && [ -x /usr/local/go/bin/go ]; then
		PATH=$PATH:/usr/local/go/bin
	fi
	command -v go >/dev/null || fail "Go is not installed" "install Go 1.26 or newer from https://go.dev/dl/"
	local have
	have=$(go env GOVERSION)
	have=${have#go}
	if [ "$(printf '%s\n' 1.26 "$have" | sort -V | head -n 1)" != 1.26 ]; then
		fail "Go $have is too old" "install Go 1.26 or newer from https://go.dev/dl/"
	fi
	# Without a commit, or in a checkout owned by another user, there is no
	# revision to stamp, and go would stop.
	if ! git rev-parse HEAD >/dev/null 2>&1; then
		export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
	fi
}

need_root() {
	[ "$(id -u)" = 0 ] || fail "this needs root: it makes network namespaces and TUN devices" "run it with sudo"
}

# need_kernel checks for what no package can install.
need_kernel() {
	[ "$(uname -s)" = Linux ] || fail "braid needs Linux"
	[ -e /proc/sys/net/mptcp/enabled ] ||
		fail "this kernel has no Multipath TCP" "use a kernel with CONFIG_MPTCP, such as that of any current distribution (6.1 or newer)"
	[ "$(cat /proc/sys/net/mptcp/enabled)" = 1 ] ||
		fail "Multipath TCP is switched off" "sysctl -w net.mptcp.enabled=1"
	if [ ! -e /dev/net/tun ]; then
		modprobe tun 2>/dev/null || true
		[ -e /dev/net/tun ] || fail "there is no /dev/net/tun" "modprobe tun, or give the container the device"
	fi
	unshare --net true 2>/dev/null || fail "network namespaces cannot be made here" "give the container CAP_SYS_ADMIN"
}

# need_commands installs the packages of those of its commands that are
# missing: need_commands COMMAND=PACKAGE...
need_commands() {
	local pair missing=()
	PATH=$PATH:/usr/sbin:/sbin
	for pair in "$@"; do
		command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || fail "missing programs" "install what these Debian packages have: ${missing[*]}"
	echo "installing: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	# Without what they recommend: a browser's recommendations are half a desktop.
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
		fail "could not install ${missing[*]}" "look at the output of: apt-get install ${missing[*]}"
}

# build makes build/braid.
build() {
	mkdir -p build
	go build -o build/braid ./cmd/braid
}
