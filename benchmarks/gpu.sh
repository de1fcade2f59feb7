#!/usr/bin/env bash
# The course on this machine's CUDA card, in one Markdown table: bash benchmarks/gpu.sh
# Under six minutes and without a network. It needs PyTorch 2.11 or later, transformers, tokenizers, safetensors and
# tqdm (accelerate too, for the row of transformers' Trainer). Without a card it runs at a tiny size on the CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false CUBLAS_WORKSPACE_CONFIG=:4096:8
exec "${PYTHON:-python3}" benchmarks/gpu.py "$@"
