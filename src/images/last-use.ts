import type { Digest } from "../oci/digest.ts";
import type { Store } from "../store/store.ts";

/**
 * When each image was last used, for a collection that removes the oldest first. A use costs an entry in memory: they are written together, once a minute
 * and at the end. A killed engine forgets the last minute of them.
 */
export interface LastUses {
  /** Used now. */
  note(image: Digest): void;
  /** Unix milliseconds; where no use is known the time when the image came here. */
  at(image: Digest): number;
  write(): void;
}

export function createLastUses({ db, tx }: Store): LastUses {
  const pending = new Map<Digest, number>();
  return {
    note: (image) => void pending.set(image, Date.now()),
    at: (image) =>
      pending.get(image) ??
      db.query<{ at: number }, [string]>("SELECT coalesce(used_at, created) AS at FROM images LEFT JOIN image_uses ON image = id WHERE id = ?").get(image)
        ?.at ??
      0,
    write: () => {
      if (pending.size === 0) return;
      tx(() => {
        const insert = db.query(
          "INSERT INTO image_uses (image, used_at) SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM images WHERE id = ?1) ON CONFLICT (image) DO UPDATE SET used_at = excluded.used_at",
        );
        for (const [image, at] of pending) insert.run(image, at);
      });
      pending.clear();
    },
  };
}
