#!/bin/sh
# After installation or upgrade, of Debian's and RPM's packages: the daemon's user
# and its folders; what runs goes on with the new program. Nothing is started that
# did not run, and nothing is enabled.
set -e

case "$1" in
abort-*) exit 0 ;; # dpkg takes back what it began
esac

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers braid.conf
elif ! getent passwd braid >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/braid --shell /usr/sbin/nologin --comment "braid VPN" braid
fi
if command -v systemd-tmpfiles >/dev/null; then
	systemd-tmpfiles --create braid.conf || true # only files of odd kinds are refused
else
	install -d -m 0750 -o root -g braid /etc/braid
	install -d -m 0700 -o braid -g braid /var/lib/braid
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An upgrade: "configure OLD-VERSION" of dpkg, 2 of rpm.
	case "$1:$2" in
	configure:?* | [2-9]*) systemctl try-restart braid-server.service braid-client.service 'braid-client@*.service' ;;
	esac
fi
