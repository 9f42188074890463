#!/usr/bin/env bash
# pack.sh OUT.tar NAME:TAG PROGRAM: an image of one program and the libraries that it links, without a build tool.
set -euo pipefail
out=$1 name=$2 program=$3
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,etc,tmp,usr/lib/x86_64-linux-gnu,lib64}
install -s "$program" "$root/bin/"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
  case $library in
    /lib64/*) cp -L "$library" "$root/lib64/" ;;
    *) cp -L "$library" "$root/usr/lib/x86_64-linux-gnu/" ;;
  esac
done
ln -s usr/lib "$root/lib"
printf 'root:x:0:0:root:/:/bin/false\nnonroot:x:65532:65532::/tmp:/bin/false\n' > "$root/etc/passwd"
"$(dirname "$0")/mkimage.py" "$out" "$name" "$root" "/bin/$(basename "$program")"
