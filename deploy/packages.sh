#!/bin/sh
# packages.sh - installs by apt-get those Debian packages that are missing, and only those. Sourced by quickstart and check.
#
# adverb_install GROUP...   groups: build, test, docs, photo, guest

adverb_packages() {
	case $1 in
	build) echo gcc meson ninja-build pkg-config liburing-dev libjemalloc-dev libseccomp-dev libhwloc-dev libsqlite3-dev libjansson-dev libhttp-parser-dev libinih-dev libssl-dev libjpeg62-turbo-dev g++ libibverbs-dev librdmacm-dev ;;
	test) echo libcriterion-dev clang libclang-rt-14-dev clang-format spin python3 systemd ;;
	docs) echo scdoc man-db ;;
	photo) echo libvips-tools ;;
	guest) echo qemu-system-x86 busybox-static cpio kmod xz-utils iproute2 binutils rdma-core ibverbs-providers ibverbs-utils perftest ;;
	esac
}

adverb_install() {
	missing=
	for group in "$@"; do
		for package in $(adverb_packages "$group"); do
			dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
		done
	done
	[ -n "$missing" ] || return 0
	echo "installing:$missing"
	as_root=
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || {
			echo "these packages are missing and there is no sudo: as root, run apt-get install$missing" >&2
			return 1
		}
		as_root=sudo
	fi
	export DEBIAN_FRONTEND=noninteractive
	$as_root apt-get update -qq || return 1
	# shellcheck disable=SC2086
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
