#!/bin/sh
# Before removal on OpenWrt, or before an upgrade, which stops nothing.
[ -z "$IPKG_INSTROOT" ] && [ "$1" != upgrade ] || exit 0
/etc/init.d/braid stop
/etc/init.d/braid disable
exit 0
