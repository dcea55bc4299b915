import type { Staged } from "../content/types.ts";
import type { Digest } from "../oci/digest.ts";
import { MOST_LAYERS } from "./layers.ts";
import type { ImageContext, Lease } from "./types.ts";

type Tell = (bytes: number) => void;

interface Early {
  done: Promise<void>;
  /** Bytes unpacked so far. */
  bytes: number;
  tell: Tell | undefined;
}

/** Where a tar's header says that it is one (POSIX ustar; GNU has blanks behind it). */
const MAGIC = { at: 257, text: "ustar" };

/**
 * Layers of an archive that are unpacked while the rest of it still comes: what stands where is said at its end, but what looks like a plain tar is most likely a
 * layer, and its digest its diff id. Those that no image of the archive has go again as all that isn't needed does; what fails here is tried again, and
 * told of, once it is known to be a layer.
 */
export class EarlyLayers implements AsyncDisposable {
  readonly #ctx: ImageContext;
  readonly #lease: Lease;
  readonly #layers = new Map<Digest, Early>();
  readonly #stop = new AbortController();

  constructor(ctx: ImageContext, lease: Lease) {
    this.#ctx = ctx;
    this.#lease = lease;
  }

  /** Begins with it, if it looks like a layer. The file must stay until it is `finished` or this is disposed of. */
  async offer({ digest, path, size }: Staged): Promise<void> {
    if (this.#layers.size >= MOST_LAYERS || size <= MAGIC.at + MAGIC.text.length) return;
    if (
      (await Bun.file(path)
        .slice(MAGIC.at, MAGIC.at + MAGIC.text.length)
        .text()) !== MAGIC.text
    )
      return;
    const layer: Early = { done: Promise.resolve(), bytes: 0, tell: undefined };
    const parents = Promise.reject<never>(new Error("what lies under a layer isn't known before the archive's end"));
    parents.catch(() => {});
    const unpacked = this.#ctx.snapshots.unpack({
      source: path,
      parentIds: [],
      parents,
      expect: digest,
      digest,
      unsynced: true,
      recipe: true,
      onSnapshot: this.#lease.add,
      onProgress: (bytes) => {
        layer.bytes = bytes;
        layer.tell?.(bytes);
      },
      signal: this.#stop.signal,
    });
    layer.done = unpacked.then(
      () => {},
      () => {},
    );
    this.#layers.set(digest, layer);
  }

  /** Settles when a layer's unpacking has ended, one way or another; at once where it hasn't begun. `tell` hears how far it is. */
  async finished(digest: Digest, tell: Tell | undefined): Promise<void> {
    const layer = this.#layers.get(digest);
    if (layer === undefined) return;
    if (layer.bytes > 0) tell?.(layer.bytes);
    layer.tell = tell;
    await layer.done;
  }

  /** Ends what still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#layers.values()].map(({ done }) => done));
  }
}
