import type { VolumeRecord } from "./types.ts";

/** Docker's mark of volumes that nobody named. */
export const anonymousLabel = "com.docker.volume.anonymous";

/** A volume's labels as clients see them and filter by. */
export function labelsOf({ anonymous, labels }: Pick<VolumeRecord, "anonymous" | "labels">): Record<string, string> {
  return anonymous ? { [anonymousLabel]: "", ...labels } : labels;
}
