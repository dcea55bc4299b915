import { SysError } from "../kernel/ffi.ts";

/** ESTALE is overlayfs's, of a directory that went in the layer below it. */
const gone = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ESTALE"]);

/** Whether what stood in a tree a moment ago isn't there any more: a running container may change it at any time. */
export const isGone = (error: unknown): boolean => error instanceof SysError && gone.has(error.code);
