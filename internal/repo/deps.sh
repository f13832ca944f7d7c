#!/bin/sh
# Installs what some tests need: Debian's Chromium and a Chinese font for the pages,
# systemd-analyze for the unit. Asks first, unless -y is given.
set -eu
packages="chromium fonts-noto-cjk systemd"
missing=
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -z "$missing" ]; then
	echo "nothing to install: $packages are there"
	exit 0
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if [ "${1:-}" != -y ]; then
	printf 'This runs: %s apt-get install%s (about 400 MB). Go on? [y/N] ' "$sudo" "$missing"
	read -r answer
	case $answer in y | Y | yes) ;; *) echo "nothing was installed"; exit 1 ;; esac
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086
$sudo apt-get install -y -q --no-install-recommends $missing
