#!/bin/bash
# Begins the corpora of the fuzz targets with the fixtures of the tests. Some targets read a number
# before the file; it is put there.
set -euo pipefail
cd "$(dirname "$0")"
fixtures=../crates/checkpoints/tests/fixtures

# seed TARGET NAME PREFIX FILE
seed() {
    mkdir -p "corpus/$1"
    { printf "$3"; cat "$4"; } > "corpus/$1/$2"
}

seed gguf model '' $fixtures/llama.gguf
seed gguf encodings '' $fixtures/encodings.gguf
for name in llama2c-v0 llama2c-v1 llama2c-v2 blzt-v4; do
    seed bin $name '\0\0' $fixtures/$name.bin
done
seed tokenizer_bin tokenizer '\100' $fixtures/tokenizer.bin
seed safetensors file '\377\377' $fixtures/encodings.safetensors
seed shards list '' $fixtures/llama/model.safetensors.index.json
seed config config '' $fixtures/llama/config.json
seed config generation '' $fixtures/llama/generation_config.json
seed tokenizer tokenizer '' $fixtures/llama/tokenizer.json
mkdir -p corpus/adapter
echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 12.5, "lora_dropout": 0.1,
"target_modules": ["q_proj", "mlp.up_proj"], "use_rslora": true, "bias": "none"}' > corpus/adapter/lora
for picture in ../crates/anemone/tests/fixtures/*.png ../crates/anemone/tests/fixtures/*.jpg; do
    seed picture "$(basename "$picture")" '' "$picture"
done
find ../crates/mil/tests -name '*.mil' | while read -r file; do
    seed parse "$(basename "$file")" '' "$file"
done
