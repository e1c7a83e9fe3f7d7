# shellcheck shell=bash
# Finds the Rust toolchain that builds guests on this machine. Shared by scripts/guest-target, which
# sets one up, and scripts/guest-cargo, which uses it. Sourced, never run; it changes nothing.
#
# There are two:
#   host     the default one, which also builds the host: `rustup target add` added a std to it.
#   debian   if rustup cannot download: Debian's rustc in /usr with a std built on this machine
#            (scripts/lib/debian-guest-std), which rustup knows as `windlass-guest`.

DEBIAN_TOOLCHAIN=windlass-guest
# Increment this when debian-guest-std builds something else, so that older results are rebuilt.
DEBIAN_STD_RECIPE=1

# A login shell often puts rustup's folder on PATH; cron, CI and `env -i` do not.
if ! command -v rustup >/dev/null && [[ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/rustup" ]]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

# Print an error message and exit.
fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Succeeds if the toolchain that builds the host has a std for target $1 and the linker for guests.
# Debian's rustc without rustup may have a std, but lacks the linker.
host_has() {
  local libdir
  libdir=$(rustc --print target-libdir --target "$1" 2>/dev/null) || return 1
  compgen -G "$libdir/libstd-*.rlib" >/dev/null || return 1
  compgen -G "$libdir/../../*/bin/wasm-component-ld" >/dev/null || command -v wasm-component-ld >/dev/null
}

debian_libdir() { echo "/usr/lib/rustlib/$1/lib"; }

# The stamp of a complete std. An upgrade of Debian's rustc changes it, and the old std, which the
# new rustc cannot read, is then rebuilt.
debian_stamp() { echo "recipe $DEBIAN_STD_RECIPE, $(/usr/bin/rustc --version)"; }

# Succeeds if Debian's rustc has a complete std for target $1.
debian_has_std() {
  local stamp
  stamp="$(debian_libdir "$1")/windlass-std"
  [[ -x /usr/bin/rustc && -f $stamp && $(<"$stamp") == "$(debian_stamp)" ]]
}

# Succeeds if the fallback is complete for target $1: std, and the toolchain's name in rustup.
debian_has() {
  debian_has_std "$1" && [[ $(readlink "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/$DEBIAN_TOOLCHAIN") == /usr ]]
}

# Print which toolchain builds for target $1, or fail if none does.
# WINDLASS_GUEST_TOOLCHAIN=debian skips the default one, to test the fallback where both work.
guest_toolchain() {
  if [[ ${WINDLASS_GUEST_TOOLCHAIN:-} != debian ]] && host_has "$1"; then
    echo host
  elif debian_has "$1"; then
    echo debian
  else
    return 1
  fi
}

# The folders of `wasm-component-ld`, `rust-lld` and `wasm-ld`. Debian has no suitable ones; those of
# the host's own toolchain link objects of any rustc.
linker_path() {
  local host bin
  host=$(rustc -vV | sed -n 's/^host: //p')
  bin="$(rustc --print sysroot)/lib/rustlib/$host/bin"
  echo "$bin:$bin/gcc-ld"
}
