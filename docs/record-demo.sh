#!/bin/sh
# Records "make demo" as an animated picture, docs/demo.svg. It needs termtosvg (pip install termtosvg 'setuptools<80'),
# script (util-linux), and what the demo needs.
set -eu
cd "$(dirname "$0")/.."
if [ "${1:-}" = show ]; then
  echo '$ make demo'
  sleep 0.5
  exec .venv/bin/python examples/demo.py
fi
script -qec "termtosvg docs/demo.svg -g 112x48 -t gjm8 -M 1500 -D 4000 -c 'docs/record-demo.sh show'" /dev/null
# The recording plays once, so that nothing moves for ever. Readers who want no motion see its end.
sed -i -e 's/animation-iteration-count:infinite;/animation-iteration-count:1;/' \
  -e 's|^ *]]></style>|@media (prefers-reduced-motion: reduce){#screen_view{animation-duration:0s!important}}\n&|' docs/demo.svg
