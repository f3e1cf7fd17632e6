#!/usr/bin/env bash
# Benchmarks in the lab: braid beside raw kernel MPTCP, wireguard-go and the best
# uplink alone.
#
#   scripts/bench.sh [SUITE...]    unshaped, cellA, cellB, cellC, requests, streams;
#                                  default these, some 20 minutes
#   scripts/bench.sh grid          40 pairs of uplinks, 80 minutes; -part 1/4 for pieces
#   scripts/bench.sh failover      20 deaths of everything, hours; -rounds 1 for one
#   scripts/bench.sh calm          a call beside transfers, 40 minutes; calmA for one cell
#   scripts/bench.sh packets       bulk over UDP and QUIC, 20 minutes; packetsA for one cell
#   scripts/bench.sh redundant     a call over two lossy uplinks, 3 minutes
#   scripts/bench.sh idle          a tunnel without traffic, 5 minutes
#   scripts/bench.sh overflow      roles of uplinks, 3 minutes
#   scripts/bench.sh speedtest     what braid speedtest tells, 8 minutes; speedtestA for one cell
#   scripts/bench.sh -contenders braid,mptcp -runs down1 -rounds 1 cellA
#                                  one figure, in less than a minute
#   scripts/bench.sh -help         all flags
#
# The tables are printed, and written to build/bench.json as well.
source "$(dirname "$0")/common.sh"

# wireguard-go is measured as it is published. It is built in a folder of its
# own and is no dependency of braid.
readonly wireguard=golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446

need_root
need_go
need_kernel
need_commands nft=nftables ip=iproute2
build
GOBIN=$PWD/build/wireguard go install "$wireguard"
go build -o build/bench ./lab/bench
exec build/bench -braid build/braid -wireguard build/wireguard/wireguard -json build/bench.json "$@"
