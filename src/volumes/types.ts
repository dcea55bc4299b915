export interface VolumeRecord {
  name: string;
  driver: string;
  mountpoint: string;
  /** RFC 3339. */
  created: string;
  labels: Record<string, string>;
  options: Record<string, string>;
  anonymous: boolean;
}

export interface Volumes {
  /** The existing one with the same driver and options, else a new one. Without a name: anonymous, 64 hex digits. @throws EngineError invalidArgument, conflict */
  create(options: { name?: string; driver?: string; labels?: Record<string, string>; options?: Record<string, string> }): Promise<VolumeRecord>;
  list(): VolumeRecord[];
  /** @throws EngineError notFound `get x: no such volume` */
  get(name: string): VolumeRecord;
  /** @throws EngineError conflict while a container uses it */
  remove(name: string, options?: { force?: boolean }): Promise<void>;
  prune(options: { all?: boolean; filters?: Record<string, string[]> }): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  /** Containers that refer to it (rows, never counters). */
  usersOf(name: string): string[];
  /** Fills an empty volume from the image's directory, owners and modes included (done once, before its first mount). */
  copyUp(name: string, sourceDirectory: string): Promise<void>;
  /** Makes the volume usable (mounts what `type`/`device`/`o` options say). Returns the path to bind. */
  mount(name: string): Promise<string>;
  unmount(name: string): Promise<void>;
  usage(name: string): Promise<number>;
  restore(): Promise<void>;
}
