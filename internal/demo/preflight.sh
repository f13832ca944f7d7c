#!/bin/sh
# Names the first thing that is missing to build tongban, with the command that mends it.
need_go=1.26

stop() {
	printf 'tongban cannot be built yet: %s\n  %s\n' "$1" "$2" >&2
	exit 1
}

command -v gcc >/dev/null 2>&1 || [ -n "$CC" ] || stop "there is no C compiler (SQLite is written in C)." "sudo apt-get install -y gcc libc6-dev"
printf '#include <stdio.h>\n' | ${CC:-gcc} -E - >/dev/null 2>&1 || stop "the C library's headers are missing." "sudo apt-get install -y libc6-dev"
command -v git >/dev/null 2>&1 || stop "git is missing." "sudo apt-get install -y git"
command -v go >/dev/null 2>&1 || stop "Go is missing (Go $need_go or newer is needed; Debian 12 ships 1.19)." \
	"download it from https://go.dev/dl/ and: sudo tar -C /usr/local -xzf go$need_go.*.linux-*.tar.gz && export PATH=/usr/local/go/bin:\$PATH"
have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//')
[ -n "$have" ] || have=$(go version | sed 's/.*go\([0-9.]*\).*/\1/')
oldest=$(printf '%s\n%s\n' "$need_go" "$have" | sort -V | head -n 1)
[ "$oldest" = "$need_go" ] || stop "Go $have is too old; Go $need_go or newer is needed." \
	"download it from https://go.dev/dl/ and: sudo rm -rf /usr/local/go && sudo tar -C /usr/local -xzf go$need_go.*.linux-*.tar.gz && export PATH=/usr/local/go/bin:\$PATH"
[ "$(go env CGO_ENABLED)" = 1 ] || stop "cgo is switched off." "export CGO_ENABLED=1"
