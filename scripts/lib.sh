# Shared by the scripts beside it: POSIX sh, since Debian 12's npm comes with a Node too old for TypeScript.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

case $(uname -m) in
  x86_64) bun="$root/node_modules/@oven/bun-linux-x64/bin/bun" biome="$root/node_modules/@biomejs/cli-linux-x64/biome" ;;
  aarch64) bun="$root/node_modules/@oven/bun-linux-aarch64/bin/bun" biome="$root/node_modules/@biomejs/cli-linux-arm64/biome" ;;
  *) echo "berth: no Bun for $(uname -m): x86_64 and aarch64 are supported" >&2; exit 1 ;;
esac

# hash_of FILE-OR-FOLDER…: one hash over names and contents
hash_of() {
  find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

say() { printf '%s\n' "$*"; }
die() { printf 'berth: %s\n' "$*" >&2; exit 1; }
