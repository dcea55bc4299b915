import { CString, dlopen, FFIType, type Pointer } from "bun:ffi";
import { cstr } from "./ffi.ts";

const symbols = {
  nft_ctx_new: { args: [FFIType.u32], returns: FFIType.ptr },
  nft_ctx_free: { args: [FFIType.ptr], returns: FFIType.void },
  nft_ctx_buffer_output: { args: [FFIType.ptr], returns: FFIType.i32 },
  nft_ctx_buffer_error: { args: [FFIType.ptr], returns: FFIType.i32 },
  nft_ctx_get_output_buffer: { args: [FFIType.ptr], returns: FFIType.ptr },
  nft_ctx_get_error_buffer: { args: [FFIType.ptr], returns: FFIType.ptr },
  nft_ctx_output_set_flags: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.void },
  nft_run_cmd_from_buffer: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
} as const;

/** NFT_CTX_OUTPUT_HANDLE: listings end each rule with `# handle N`. */
const OUTPUT_HANDLE = 8;

/** What nft(8) would do, without its process: 0.2–0.5 ms a command. For the base ruleset and for rare changes; ports go through nftables-batch.ts. */
export interface Nftables extends Disposable {
  /** Runs commands as one transaction and returns what they print. A block's last `}` needs a newline before the next command. @throws Error with nft's own text */
  run(commands: string): string;
}

/** @throws Error where libnftables isn't installed or the kernel has no nf_tables */
export function openNftables(): Nftables {
  const library = dlopen("libnftables.so.1", symbols);
  const nft = library.symbols;
  const context = nft.nft_ctx_new(0) as Pointer | null;
  if (context === null) throw new Error("libnftables made no context");
  nft.nft_ctx_buffer_output(context);
  nft.nft_ctx_buffer_error(context);
  nft.nft_ctx_output_set_flags(context, OUTPUT_HANDLE);
  const string = (at: Pointer | null): string => (at === null ? "" : new CString(at).toString());
  return {
    run(commands) {
      const status = nft.nft_run_cmd_from_buffer(context, cstr(commands));
      const output = string(nft.nft_ctx_get_output_buffer(context) as Pointer | null);
      const failure = string(nft.nft_ctx_get_error_buffer(context) as Pointer | null);
      if (status !== 0) throw new Error(`nftables: ${failure.trim().split("\n")[0] || `status ${status}`}`);
      return output;
    },
    [Symbol.dispose]() {
      nft.nft_ctx_free(context);
      library.close();
    },
  };
}
