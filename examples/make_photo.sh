#!/bin/sh
# make_photo.sh FILE.jpg - makes a 12-megapixel JPEG of a few megabytes out of noise and gradients, with vips.
set -eu
[ $# -eq 1 ] || {
	echo "Usage: $0 FILE.jpg" >&2
	exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# Clouds of three sizes for the three colours, and a grain like a sensor's.
vips perlin red.v 4000 3000 --cell-size 512 --uchar
vips perlin green.v 4000 3000 --cell-size 768 --uchar
vips perlin blue.v 4000 3000 --cell-size 1024 --uchar
vips bandjoin "red.v green.v blue.v" colour.v
vips gaussnoise grain.v 4000 3000 --sigma 6 --mean 0
vips add colour.v grain.v grainy.v
vips cast grainy.v photo.v uchar
vips copy photo.v srgb.v --interpretation srgb
cd - >/dev/null
vips jpegsave "$work/srgb.v" "$1" --Q 90
