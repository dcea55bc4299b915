import type { Store } from "../store/store.ts";

const key = "snapshot-ids";
const block = 100;

/** Numbers that are never used twice, over restarts too: others may remember an id longer than its row lives. Reserved in blocks. */
export function createCounter({ db }: Store): () => number {
  const noted = Number(db.query<{ value: string }, [string]>("SELECT value FROM meta WHERE key = ?").get(key)?.value ?? 0);
  // A reservation made inside a transaction that was rolled back isn't noted: what stands in rows counts as well.
  const highest = db.query<{ id: string }, []>("SELECT id FROM snapshots ORDER BY length(id) DESC, id DESC LIMIT 1").get();
  let last = Math.max(noted, highest === null ? 0 : parseInt(highest.id, 36));
  let reserved = last;
  return () => {
    if (++last > reserved) {
      reserved = last + block - 1;
      db.query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value").run(key, String(reserved));
    }
    return last;
  };
}
