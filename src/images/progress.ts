import type { ProgressMessage, ProgressSink } from "./types.ts";

/** Least milliseconds between two messages about the same layer: terminals and logs need no more. */
const interval = 100;

/** `12.3MB` with four significant digits, as Docker's go-units writes sizes. */
export function humanSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${Number(size.toPrecision(4))}${units[unit]!}`;
}

/** `[=====>      ]  1.2MB/12MB`, the text that older clients print as it stands (jsonmessage, at 200 columns). */
export function progressBar(current: number, total: number): string {
  if (current <= 0 && total <= 0) return "";
  if (total <= 0) return humanSize(current).padStart(8);
  const half = Math.min(50, Math.trunc(Math.trunc((current / total) * 100) / 2));
  const numbers = current > total ? humanSize(current).padStart(8) : `${humanSize(current).padStart(8)}/${humanSize(total)}`;
  return `[${"=".repeat(half)}>${" ".repeat(50 - half)}] ${numbers}`;
}

/** First 12 digits of a digest: how layers are called in progress messages. */
export function shortDigest(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1).slice(0, 12);
}

/** Messages about one layer. */
export interface LayerProgress {
  /** `Pulling fs layer`, `Pushed`… */
  status(text: string): void;
  /** At most ten a second, but always the one that completes. `total` 0 means unknown. */
  bytes(text: string, current: number, total: number): void;
}

export function layerProgress(sink: ProgressSink, digest: string): LayerProgress {
  const id = shortDigest(digest);
  let last = -Infinity;
  return {
    status: (text) => sink({ status: text, progressDetail: {}, id }),
    bytes: (text, current, total) => {
      const now = performance.now();
      if (now - last < interval && current !== total) return;
      last = now;
      sink(bytesMessage(text, current, total, id));
    },
  };
}

function bytesMessage(status: string, current: number, total: number, id: string): ProgressMessage {
  return { status, progressDetail: total > 0 ? { current, total } : { current }, progress: progressBar(current, total), id };
}
