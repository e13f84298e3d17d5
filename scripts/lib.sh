# scripts/lib.sh -- what the scripts share: where the tree is, how to talk, how to get packages.
# Sourced, not run. Plain sh.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

if [ -t 1 ]; then bold=$(printf '\033[1m'); plain=$(printf '\033[0m'); else bold=; plain=; fi

say() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# need_packages PACKAGE...: install what Debian lacks when we may, else print the command and stop.
need_packages() {
    missing=
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 || {
        have_tools && return 0
        die "Missing:$missing. Install them with your package manager, then run this again."
    }
    if [ "$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; else
        have_tools && return 0
        die "Please run:  sudo apt-get install$missing"
    fi
    say "installing$missing"
    # shellcheck disable=SC2086
    { $as apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        $as apt-get install -y -qq --no-install-recommends $missing; } >/tmp/opendb-apt.$$ 2>&1 || {
        cat /tmp/opendb-apt.$$ >&2
        rm -f /tmp/opendb-apt.$$
        die "Could not install$missing. Please run:  sudo apt-get install$missing"
    }
    rm -f /tmp/opendb-apt.$$
}

# On systems without dpkg: are the programs there at all?
have_tools() {
    command -v meson >/dev/null && command -v ninja >/dev/null && command -v cc >/dev/null &&
        pkg-config --exists liblz4 libxxhash 2>/dev/null
}

build_packages='meson ninja-build gcc libc6-dev pkg-config liblz4-dev libxxhash-dev libcmocka-dev'

# configure DIR OPTION...: set up a build directory, or bring an old one up to date.
configure() {
    dir=$1
    shift
    if [ -f "$dir/build.ninja" ]; then
        meson configure "$dir" "$@" >/dev/null
    else
        meson setup "$dir" "$root" "$@" >/dev/null || {
            cat "$dir/meson-logs/meson-log.txt" >&2 2>/dev/null
            die "meson could not set up $dir"
        }
    fi
}
