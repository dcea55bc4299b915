import { EngineError, type ErrorKind } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";

/** A layer that couldn't be unpacked, with the digest that its blob has: another one than it should have where the transfer is to blame. */
export class BadLayer extends EngineError {
  readonly blob: Digest;

  constructor(kind: ErrorKind, message: string, blob: Digest) {
    super(kind, message);
    this.name = "BadLayer";
    this.blob = blob;
  }
}
