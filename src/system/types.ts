/** What `GET /info` and `GET /version` say, under Docker's names. */
export type SystemInfo = Record<string, unknown>;

export interface VersionInfo {
  Platform: { Name: string };
  Version: string;
  ApiVersion: string;
  MinAPIVersion: string;
  GitCommit: string;
  GoVersion: string;
  Os: string;
  Arch: string;
  KernelVersion: string;
  BuildTime: string;
  Components: { Name: string; Version: string; Details?: Record<string, string> }[];
}

export interface System {
  info(): Promise<SystemInfo>;
  version(): VersionInfo;
}
