"""llama.cpp's own server, of a wheel that has it built: python llama_server.py FILE.gguf PORT."""

from __future__ import annotations

import sys
import threading

import xllamacpp


def main() -> None:
    """Serve until ended."""
    file, port = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = file, ["127.0.0.1"], int(port)
    params.n_ctx, params.n_parallel, params.warmup = 1024, 4, False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # float16 by itself
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
