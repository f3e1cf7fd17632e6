#!/usr/bin/env bash
# The terminal pictures in docs/pictures, from a real run: the lab's network, a
# download over two uplinks, and braid top in tmux. Takes some three minutes.
source "$(dirname "$0")/common.sh"

need_root
need_go
need_kernel
need_commands nft=nftables ip=iproute2 ping=iputils-ping curl=curl tmux=tmux

shots=$(mktemp -d)
trap 'rm -rf "$shots"' EXIT
BRAID_LONG=1 BRAID_ARTIFACTS=$shots go test -count=1 -timeout 10m -run '^TestTop$' ./lab/e2e

mkdir -p docs/pictures
draw() { go run ./lab/picture -title "$2" <"$shots/$1.ansi" >"docs/pictures/$1.svg"; }
draw top-good "braid top: two uplinks carry one download, and a third one stands by"
draw top-dead "braid top: the uplink lte is dead, and dsl carries on alone"
draw top-quarantined "braid top: the uplink sat answers, but makes nothing faster: it is quarantined"
