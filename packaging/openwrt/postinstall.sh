#!/bin/sh
# After installation or upgrade on OpenWrt. Enabled is not started: the init
# script starts what is configured.
[ -z "$IPKG_INSTROOT" ] || exit 0 # an image is being built
/etc/init.d/braid enable
if /etc/init.d/braid running; then
	/etc/init.d/braid restart
fi
exit 0
