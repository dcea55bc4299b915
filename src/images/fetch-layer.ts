import type { Download, Staged } from "../content/types.ts";
import { misbehaviour } from "../distribution/errors.ts";
import { kindOf } from "../lib/errors.ts";
import { createLimiter } from "../lib/limiter.ts";
import { algorithmOf } from "../oci/digest.ts";
import type { Descriptor } from "../oci/image.ts";
import { repositoryOf, type Reference } from "../oci/reference.ts";
import { BadLayer } from "../snapshots/bad-layer.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { recordBlobSource } from "./blob-sources.ts";
import type { UnpackOptions } from "./layers.ts";
import type { LayerProgress } from "./progress.ts";
import { createTransfers, type TransferWatcher } from "./transfers.ts";
import type { ImageContext, Lease, PullSource } from "./types.ts";

/** Of the pull that a layer is fetched for. */
export interface LayerWork {
  reference: Reference;
  remote: PullSource;
  fromRegistry: boolean;
  lease: Lease;
  /** Blobs whose bytes are here and checked: they become visible with the image. */
  blobs: Staged[];
  /** All that were begun. */
  downloads: Download[];
  /** Disposed at the end, with whatever isn't visible by then. */
  stack: AsyncDisposableStack;
}

type FetchLayer = (work: LayerWork, descriptor: Descriptor, progress: LayerProgress, layer: Omit<UnpackOptions, "source">) => Promise<SnapshotId>;

/** One for the engine: pulls that want the same layer share its download, and all of them the number that may run at once. */
export function createFetchLayer({ content, snapshots, store, limits }: ImageContext): FetchLayer {
  const transfers = createTransfers();
  const downloads = createLimiter(() => limits.maxConcurrentDownloads);

  /** Downloads and unpacks one layer, both at the same time. */
  const fetchLayer: FetchLayer = async (work, descriptor, progress, layer) => {
    const { digest } = descriptor;
    work.lease.add(digest);
    if (content.info(digest) !== undefined) {
      progress.status("Download complete");
      const { snapshot } = await snapshots.unpack({ ...layer, source: content.path(digest) });
      return snapshot;
    }
    const blob = work.stack.use(await content.download(descriptor));
    work.downloads.push(blob);
    for (let tries = 1; ; tries++) {
      const { resumed } = blob;
      try {
        return await fetchOnce(work, descriptor, blob, progress, layer);
      } catch (error) {
        if (!(error instanceof BadLayer) || error.blob === digest) throw error;
        await blob.clear();
        // A power loss may have taken bytes that an earlier engine had noted as there.
        if (!resumed || tries > 2) throw misbehaviour(`filesystem layer verification failed for digest ${digest}`, error);
        progress.status("Verification of resumed download failed: starting again");
      }
    }
  };

  /** @throws BadLayer with another digest where what came is not the blob */
  const fetchOnce = async (
    work: LayerWork,
    descriptor: Descriptor,
    blob: Download,
    progress: LayerProgress,
    layer: Omit<UnpackOptions, "source">,
  ): Promise<SnapshotId> => {
    const { digest, size } = descriptor;
    const stop = new AbortController();
    const signal = layer.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, layer.signal]);
    let arrived = false;
    const fetching = transfers.join(`${digest} ${size}`, progress, signal, async (all, shared) => {
      using _place = await downloads.enter({ signal: shared, onWait: () => all.status("Waiting") });
      await download(work.remote, descriptor, blob, all, shared);
    });
    const fetched = fetching.then(() => {
      arrived = true;
      progress.status("Download complete");
    });
    const onProgress = (bytes: number): void => {
      if (arrived) layer.onProgress?.(bytes);
    };
    const unpacked = snapshots.unpack({ ...layer, source: blob.arriving(), hash: algorithmOf(digest), onProgress, signal });
    // Where one fails, the other has nothing to go on for; neither has the download of a layer that is here after all.
    fetched.catch(() => stop.abort());
    void unpacked.then(({ blob: found }) => found ?? stop.abort()).catch(() => stop.abort());
    const [came, layerHere] = await Promise.allSettled([fetched, unpacked]);
    if (layerHere.status === "rejected") throw came.status === "rejected" && kindOf(layerHere.reason) === "cancelled" ? came.reason : layerHere.reason;
    const { snapshot, blob: found } = layerHere.value;
    if (found === undefined) return snapshot;
    if (came.status === "rejected") throw came.reason;
    if (found !== digest) throw new BadLayer("unavailable", `blob has digest ${found}, not ${digest}`, found);
    if (work.fromRegistry) recordBlobSource(store, digest, repositoryOf(work.reference));
    work.blobs.push(blob);
    return snapshot;
  };

  const download = async (remote: PullSource, descriptor: Descriptor, blob: Download, watcher: TransferWatcher, signal: AbortSignal): Promise<void> => {
    const { size } = descriptor;
    const target = {
      missing: blob.missing,
      write: async (at: number, chunks: readonly Uint8Array[]) => {
        await blob.write(at, chunks);
        watcher.bytes("Downloading", blob.received, size);
      },
    };
    await remote.download(descriptor, target, { signal, onRetry: (seconds) => watcher.status(`Retrying in ${seconds} second${seconds === 1 ? "" : "s"}`) });
    watcher.status("Verifying Checksum");
  };

  return fetchLayer;
}
