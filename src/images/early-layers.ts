import type { Staged } from "../content/types.ts";
import type { Digest } from "../oci/digest.ts";
import { MOST_LAYERS } from "./layers.ts";
import type { ImageContext, Lease } from "./types.ts";

type Tell = (bytes: number) => void;

interface Progress {
  /** Unpacked so far. */
  bytes: number;
  tell: Tell | undefined;
}

interface Early {
  /** Fulfilled when the unpacking has ended, one way or another. */
  done: Promise<unknown>;
  progress: Progress;
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
  readonly #signal: AbortSignal;

  /** `signal` ends what runs, as a disposal does. */
  constructor(ctx: ImageContext, lease: Lease, signal: AbortSignal | undefined) {
    this.#ctx = ctx;
    this.#lease = lease;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, signal]);
  }

  /** Begins with it, if it looks like a layer. The file must stay until it is `finished` or this is disposed of. */
  async offer({ digest, path, size }: Staged): Promise<void> {
    const end = MAGIC.at + MAGIC.text.length;
    if (this.#layers.size >= MOST_LAYERS || size <= end) return;
    const magic = await Bun.file(path).slice(MAGIC.at, end).text();
    if (magic !== MAGIC.text) return;
    const progress: Progress = { bytes: 0, tell: undefined };
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
        progress.bytes = bytes;
        progress.tell?.(bytes);
      },
      signal: this.#signal,
    });
    this.#layers.set(digest, { done: Promise.allSettled([unpacked]), progress });
  }

  /** Settles when a layer's unpacking has ended, one way or another; at once where it hasn't begun. `tell` hears how far it is. */
  async finished(digest: Digest, tell: Tell | undefined): Promise<void> {
    const layer = this.#layers.get(digest);
    if (layer === undefined) return;
    const { done, progress } = layer;
    if (progress.bytes > 0) tell?.(progress.bytes);
    progress.tell = tell;
    await done;
  }

  /** Ends what still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#layers.values()].map(({ done }) => done));
  }
}
