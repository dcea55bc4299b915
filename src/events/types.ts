/** Docker's event: GET /events. */
export interface EngineEvent {
  /** Monotonic over engine restarts. */
  seq: number;
  /** container, image, network, volume, daemon, builder. */
  type: string;
  action: string;
  actor: string;
  attributes: Record<string, string>;
  timeNano: bigint;
}

export interface Events {
  /** Records an event. Inside `store.tx` it commits with the change; it is dispatched after the commit. */
  emit(type: string, action: string, actor: string, attributes: Record<string, string>): void;
  /** Recorded events with since ≤ time ≤ until and a number above `after`, oldest first, `limit` at the most. */
  history(range: { since?: bigint; until?: bigint; after?: number; limit?: number }): EngineEvent[];
  /** Every event after this call; dispose to stop. The listener must not throw. */
  subscribe(listener: (event: EngineEvent) => void): Disposable;
  /** How many listen now. */
  readonly listeners: number;
  /** Events since this engine's start. */
  readonly count: number;
}
