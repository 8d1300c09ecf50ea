#!/usr/bin/env bash
# The peers of benchmarks.certify, and what its `--forms` need, in an environment of their own, .venv-peers: their
# torchvision may keep Lightning from being imported, so that nothing can be trained beside them. PYTHON names the
# interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
"${PYTHON:-python3.11}" -m venv .venv-peers
.venv-peers/bin/pip install --quiet -c constraints.txt -e ".[benchmarks,quantise,openvino]"
