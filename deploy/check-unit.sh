#!/bin/sh
# check-unit.sh UNIT.in DIRECTORY - lets systemd judge the unit as installed in DIRECTORY (which has the adverb binary). TAP.
# ADVERB_MUST_HAVE with systemd in it turns the skip into a failure. EXPOSURE_MAX is what `systemd-analyze security` may find, of 100.
EXPOSURE_MAX=50

echo 1..2
case ",$ADVERB_MUST_HAVE," in
*,systemd,*) must=1 ;;
*) must= ;;
esac
if ! command -v systemd-analyze >/dev/null; then
	for n in 1 2; do
		if [ -n "$must" ]; then
			echo "not ok $n - systemd-analyze is not installed: apt-get install systemd"
		else
			echo "ok $n - # SKIP systemd-analyze is not installed"
		fi
	done
	exit 0
fi

directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
unit=$directory/adverb.service
sed "s|@bindir@|$2|" "$1" >"$unit"

found=$(systemd-analyze verify --man=no --recursive-errors=no "$unit" 2>&1)
if [ $? -eq 0 ] && [ -z "$found" ]; then
	echo "ok 1 - systemd-analyze verify"
else
	printf '%s\n' "$found" | sed 's/^/# /'
	echo "not ok 1 - systemd-analyze verify"
fi

found=$(systemd-analyze security --offline=yes --threshold="$EXPOSURE_MAX" --no-pager "$unit" 2>&1)
if [ $? -eq 0 ]; then
	printf '%s\n' "$found" | tail -n 1 | sed 's/^/# /'
	echo "ok 2 - systemd-analyze security"
else
	printf '%s\n' "$found" | sed 's/^/# /'
	echo "not ok 2 - systemd-analyze security"
fi
