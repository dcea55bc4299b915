import type { VolumeRecord } from "./types.ts";

/** What a driver tells of a volume at the moment. */
export interface VolumeState {
  /** Path of its files on the host; absent where only a mount shows it. */
  mountpoint?: string;
  /** RFC 3339. */
  created?: string;
  /** Whatever the driver wants to be shown by inspect. */
  status?: Record<string, unknown>;
}

/**
 * Keeps the files of volumes. Names, records, labels, users, locks and events are the service's business: each verb runs under its volume's lock. Any verb
 * but `validate` and `adopt` may wait, and may be repeated. Every driver passes test/contract/volume-driver.ts.
 */
export interface VolumeDriver {
  readonly name: string;
  /** `global`: a volume is the same one on all hosts that have the driver. */
  readonly scope: "local" | "global";
  /** Before anything is made. @throws EngineError invalidArgument */
  validate(name: string, options: Record<string, string>): void;
  /** Makes it where it isn't there yet. Gives the path of its files, or an empty one where only a mount shows that. */
  create(record: VolumeRecord): Promise<string>;
  /** With all its files; what isn't there counts as removed. */
  remove(record: VolumeRecord): Promise<void>;
  /** Gives it another name and mountpoint, also while it is mounted. Absent where names are the driver's own. */
  rename?(before: VolumeRecord, after: VolumeRecord): Promise<void>;
  /** Makes the files usable for `user` and gives their path on the host. */
  mount(record: VolumeRecord, user: string): Promise<string>;
  /** The opposite, also for a user that a former engine mounted it for. */
  unmount(record: VolumeRecord, user: string): Promise<void>;
  /** After a restart of the engine: it is still mounted for `user`. */
  adopt(record: VolumeRecord, user: string): void;
  /** Undefined where the driver knows no such volume. */
  inspect(record: { name: string }): Promise<VolumeState | undefined>;
}

/** The drivers that there are: `local`, and those that plugins stand in for. */
export interface VolumeDrivers {
  readonly local: VolumeDriver;
  /** @throws EngineError notFound `error looking up volume plugin x: plugin "x" not found`, unavailable */
  get(name: string): Promise<VolumeDriver>;
  /** Volumes that others than `local` know, whether the engine has a record of them or not. */
  listRemote(): Promise<{ volumes: { driver: VolumeDriver; name: string; state: VolumeState }[]; warnings: string[] }>;
  /** Names for `/info`, sorted. */
  names(): string[];
}
