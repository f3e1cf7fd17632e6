#!/bin/sh
# Before removal on Alpine: stop, and leave the host's network as it was.
for s in braid-server braid-client; do
	rc-service --ifstarted --quiet $s stop
	rc-update --quiet del $s default
done 2>/dev/null
braid cleanup
exit 0
