#!/bin/sh
# Before removal: stop, and leave the host's network as it was. An upgrade stops
# nothing: the new package restarts what runs.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now braid-server.service braid-client.service 2>/dev/null || true
	systemctl stop 'braid-client@*.service' || true
fi
# Of daemons that were killed. Of those that were started by hand nothing is touched.
braid cleanup || true
