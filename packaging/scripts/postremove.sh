#!/bin/sh
# After removal. Configuration, keys and state stay, until Debian's purge: rpm has
# none, docs/operations.md says what to remove there.
set -e

case "$1" in
remove | 0)
	rm -rf /run/braid
	;;
purge)
	rm -rf /etc/braid /var/lib/braid /run/braid
	rm -f /etc/systemd/system/*.wants/braid-client@*.service
	if getent passwd braid >/dev/null; then
		userdel braid
	fi
	if getent group braid >/dev/null; then
		groupdel braid
	fi
	;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
