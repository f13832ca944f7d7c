#!/bin/sh
# Builds the binary and shows that something happens while SQLite is compiled (a minute
# on a small machine the first time, seconds afterwards).
# usage: build.sh GO OUTPUT LDFLAGS
start=$(date +%s)
"$1" build -trimpath -ldflags "$3" -o "$2" ./cmd/tongban &
build=$!
while kill -0 "$build" 2>/dev/null; do
	sleep 1
	seconds=$(($(date +%s) - start))
	if [ "$seconds" -ge 2 ] && [ -t 2 ]; then
		printf '\rbuilding tongban (the first time also SQLite, in C) … %ds ' "$seconds" >&2
	elif [ $((seconds % 15)) -eq 14 ]; then
		printf 'building tongban … %ds\n' "$seconds" >&2
	fi
done
wait "$build" || { printf '\nthe build failed; what is wrong stands above\n' >&2; exit 1; }
[ -t 2 ] && printf '\r%60s\r' '' >&2
size=$(du -m "$2" | cut -f1)
glibc=$(readelf -V "$2" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
printf 'built %s: %s MB, needs %s or newer and nothing else\n' "$2" "$size" "${glibc:-no C library}" >&2
