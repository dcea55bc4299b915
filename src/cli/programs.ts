/** What `berth registry serve` was asked for. */
export interface RegistryServeOptions {
  /** File with settings (docs/registry.md). */
  config?: string;
  /** What flags say, under the file's names: they win over the file. */
  settings: Record<string, unknown>;
  /** Only check the settings. */
  validate: boolean;
}

/** Long-running programs in the same executable, passed in by main: the command line knows nothing of the engine. Each resolves to the exit code. */
export interface Programs {
  /** berthd. */
  daemon(argv: string[]): Promise<number>;
  registry(options: RegistryServeOptions): Promise<number>;
}
