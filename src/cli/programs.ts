/** What `berth registry serve` was asked for. */
export interface RegistryServeOptions {
  /** Folder that keeps the images. */
  root: string;
  /** Address to listen on: `host:port`. */
  addr: string;
  /** Certificate and key files; plain http without. */
  tlsCert?: string;
  tlsKey?: string;
  logLevel: "debug" | "info" | "warn" | "error";
}

/** Long-running programs in the same executable, passed in by main: the command line knows nothing of the engine. Each resolves to the exit code. */
export interface Programs {
  /** berthd. */
  daemon(argv: string[]): Promise<number>;
  registry(options: RegistryServeOptions): Promise<number>;
}
