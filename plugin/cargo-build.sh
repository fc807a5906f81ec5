#!/bin/sh
# Called by meson.build: builds plugin and program with cargo and copies them where meson wants them.
#   cargo-build.sh PROFILE SOURCE_DIR BUILD_DIR CARGO PLUGIN PROGRAM
set -eu
profile=$1 source=$2 build=$3 cargo=$4 plugin=$5 program=$6

# Respects a target folder that the caller shares with other builds.
target=${CARGO_TARGET_DIR:-$build/cargo}
"$cargo" build --locked --manifest-path "$source/Cargo.toml" --target-dir "$target" --profile "$profile" \
    --package gst-plugin-siprec --package siprec

case $profile in
    dev) folder=$target/debug ;;
    *) folder=$target/$profile ;;
esac
cp "$folder/libgstsiprec.so" "$plugin"
cp "$folder/siprec" "$program"
