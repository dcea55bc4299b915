import { realtimeNano } from "../kernel/clock.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Store } from "../store/store.ts";
import type { EngineEvent, Events } from "./types.ts";

/** Recorded events kept; dockerd keeps 256 in memory only. */
const kept = 4096;
/** Old rows are deleted in batches, not with each event. */
const trimEvery = 256;

const latest = 9_999_999_999_999_999_999n;
const digits = (nano: bigint): string => (nano < 0n ? 0n : nano > latest ? latest : nano).toString().padStart(19, "0");

interface Row {
  seq: number;
  time_nano: string;
  type: string;
  action: string;
  actor: string;
  attributes: string;
}

function fromRow(row: Row): EngineEvent {
  return {
    seq: row.seq,
    type: row.type,
    action: row.action,
    actor: row.actor,
    attributes: JSON.parse(row.attributes) as Record<string, string>,
    timeNano: BigInt(row.time_nano),
  };
}

/** The bus: an event is a row, written with the change it tells of, and handed out once that transaction has committed. */
export function createEvents({ store, log }: { store: Store; log: Logger }): Events {
  const insert = store.db.query<{ seq: number }, [string, string, string, string, string]>(
    "INSERT INTO events (time_nano, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?) RETURNING seq",
  );
  const trim = store.db.query("DELETE FROM events WHERE seq <= ?");
  // Unix nanoseconds have 19 digits until the year 2286, so that text compares as numbers do.
  const between = store.db.query<Row, [number, string, string, number]>(
    "SELECT * FROM events WHERE seq > ? AND time_nano >= ? AND time_nano <= ? ORDER BY seq LIMIT ?",
  );
  const listeners = new Set<(event: EngineEvent) => void>();
  let count = 0;

  const dispatch = (event: EngineEvent): void => {
    count++;
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        log.error("an event listener failed", { error: messageOf(error), type: event.type, action: event.action });
      }
    }
  };

  return {
    get listeners() {
      return listeners.size;
    },
    get count() {
      return count;
    },
    emit(type, action, actor, attributes) {
      store.tx(() => {
        const timeNano = realtimeNano();
        const { seq } = insert.get(String(timeNano), type, action, actor, JSON.stringify(attributes)) as { seq: number };
        if (seq % trimEvery === 0) trim.run(seq - kept);
        store.afterCommit(() => dispatch({ seq, type, action, actor, attributes, timeNano }));
      });
    },
    history({ since, until, after = 0, limit = -1 }) {
      return between.all(after, digits(since ?? 0n), digits(until ?? latest), limit).map(fromRow);
    },
    subscribe(listener) {
      // A wrapper of its own, so that one function may be subscribed twice.
      const entry = (event: EngineEvent): void => listener(event);
      listeners.add(entry);
      return { [Symbol.dispose]: () => void listeners.delete(entry) };
    },
  };
}
