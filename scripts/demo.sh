#!/usr/bin/env bash
# The demonstration: builds braid and lets it show itself in the lab.
source "$(dirname "$0")/common.sh"

need_root
need_go
need_kernel
need_commands nft=nftables ip=iproute2 ssh=openssh-client sshd=openssh-server curl=curl
build
exec build/braid demo "$@"
