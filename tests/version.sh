#!/bin/sh
# Prints the library's version, read from its single source.
awk '/define SNAP_API_VERSION_(MAJOR|MINOR|PATCH)/ { v = v (v == "" ? "" : ".") $3 } END { print v }' \
    "$(dirname "$0")/../lib/include/heapsnap/common.h"
