#!/usr/bin/env bash
# All checks and tests, the same here and in CI.
#
#   scripts/test.sh            everything
#   scripts/test.sh -quick     without race detector, fuzzing and end-to-end tests
#
# The packages are built and tested by scripts/test-packages.sh, which takes some
# minutes and is not part of this.
#
# The end-to-end tests heed BRAID_LONG=1 and others: lab/e2e/mode_test.go.
source "$(dirname "$0")/common.sh"

readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
readonly govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
readonly fuzz_seconds=${FUZZ_SECONDS:-5}

quick=
[ "${1:-}" != -quick ] || quick=1

log=$(mktemp)
said=$(mktemp)
beside=
trap 'rm -f "$log" "$said"; [ -z "$beside" ] || kill "$beside" 2>/dev/null || true' EXIT

# begin runs a function beside what follows, and finish waits for it and prints
# what it said.
begin() {
	"$@" >"$said" 2>&1 &
	beside=$!
}
finish() {
	local failed=
	wait "$beside" || failed=1
	beside=
	cat "$said"
	[ -z "$failed" ] || exit 1
}

step() { printf '\n== %s (%ds)\n' "$1" "$SECONDS"; }

fuzz() { nice -n 19 go test -run '^$' -fuzz "^$1\$" -fuzztime "${fuzz_seconds}s" "$2" >"$log" 2>&1; }

# Before Go 1.27 the end of -fuzztime can be taken for a failure on a loaded
# machine (go.dev/issue/75804): nothing was found then.
ended_late() { grep -q '^ *context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; }

need_root
need_go
need_kernel
need_commands nft=nftables iptables=iptables ip=iproute2 ping=iputils-ping curl=curl iperf3=iperf3 dig=dnsutils \
	ssh=openssh-client sshd=openssh-server ethtool=ethtool shellcheck=shellcheck ss=iproute2 \
	setpriv=util-linux unshare=util-linux systemd-analyze=systemd busybox=busybox-static dash=dash chromium=chromium

step "format, vet"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || fail "not formatted: $unformatted" "gofmt -w ."
go vet ./...
go vet -tags man,packages ./cmd/braid ./lab/install
go mod tidy -diff >/dev/null || fail "go.mod is not tidy" "go mod tidy"
shellcheck -x -P scripts scripts/*.sh .ci/run packaging/*/*.sh

analyse() {
	nice -n 19 go run "$staticcheck" ./...
	echo "staticcheck: ok"
	# The database may be out of reach; a finding is a failure all the same.
	local out
	if ! out=$(nice -n 19 go run "$govulncheck" ./... 2>&1); then
		case $out in
		*"no such host"* | *"connection refused"* | *"i/o timeout"* | *"fetching vulnerabilities"* | *"dial tcp"* | *"Forbidden"*)
			echo "govulncheck skipped: the vulnerability database is out of reach" ;;
		*)
			echo "$out"
			fail "govulncheck found something" ;;
		esac
	else
		echo "$out" | tail -n 1
	fi
}

build
if [ -n "$quick" ]; then
	step "staticcheck, govulncheck"
	analyse
	step "tests without the lab"
	go test -short ./...
	exit
fi

# Many of these tests wait, so the analysis takes what they leave.
step "tests with the race detector; staticcheck, govulncheck"
mapfile -t packages < <(go list ./... | grep -v /lab/e2e)
begin analyse
go test -race -timeout 10m "${packages[@]}"
finish

# The end-to-end tests wait most of the time, so fuzzing takes what they leave.
fuzz_all() {
	local dir target folders targets
	mapfile -t folders < <(go list -f '{{.Dir}}' ./...)
	for dir in "${folders[@]}"; do
		mapfile -t targets < <(cat "$dir"/*_test.go 2>/dev/null | sed -nE 's/^func (Fuzz[A-Za-z0-9_]+).*/\1/p')
		for target in "${targets[@]}"; do
			if ! fuzz "$target" "$dir" && ! { ended_late && fuzz "$target" "$dir"; }; then
				cat "$log"
				fail "fuzzing $target failed" "the failing input is in $dir/testdata/fuzz"
			fi
			echo "$target: ok"
		done
	done
}

step "end to end in the lab, and fuzzing, ${fuzz_seconds}s each"
need_commands wget=wget git=git rsync=rsync tcpdump=tcpdump dbus-daemon=dbus-daemon tmux=tmux
begin fuzz_all
go test -count=1 -timeout "${E2E_TIMEOUT:-17m}" -parallel 3 ./lab/e2e
finish

step "all good"
