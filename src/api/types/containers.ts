import type { ContainerConfig, EndpointSettings, HostConfig } from "../../oci/container.ts";
import type { IDMapping } from "../../oci/id-mapping.ts";
import type { Descriptor } from "../../oci/image.ts";

/** Wire shapes of containers, under Docker's names. */

export interface PortSummary {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

export interface MountSummary {
  Type: string;
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
  IDMapping?: IDMapping;
}

/** `GET /containers/json` */
export interface ContainerSummary {
  Id: string;
  Names: string[];
  Image: string;
  ImageID: string;
  ImageManifestDescriptor?: Descriptor;
  Command: string;
  /** Unix seconds. */
  Created: number;
  Ports: PortSummary[];
  SizeRw?: number;
  SizeRootFs?: number;
  Labels: Record<string, string>;
  State: string;
  Status: string;
  HostConfig: { NetworkMode: string; Annotations?: Record<string, string> };
  NetworkSettings: { Networks: Record<string, EndpointSettings> };
  Mounts: MountSummary[];
  Health?: { Status: string; FailingStreak: number };
}

export interface ContainerState {
  Status: string;
  Running: boolean;
  Paused: boolean;
  Restarting: boolean;
  OOMKilled: boolean;
  Dead: boolean;
  Pid: number;
  ExitCode: number;
  Error: string;
  StartedAt: string;
  FinishedAt: string;
  Health?: { Status: string; FailingStreak: number; Log: { Start: string; End: string; ExitCode: number; Output: string }[] };
}

/** `GET /containers/{id}/json` */
export interface ContainerInspect {
  Id: string;
  Created: string;
  Path: string;
  Args: string[];
  State: ContainerState;
  Image: string;
  ResolvConfPath: string;
  HostnamePath: string;
  HostsPath: string;
  LogPath: string;
  Name: string;
  RestartCount: number;
  Driver: string;
  Platform: string;
  /** Of the manifest by which the image came, with its platform. */
  ImageManifestDescriptor?: Descriptor;
  MountLabel: string;
  ProcessLabel: string;
  AppArmorProfile: string;
  ExecIDs: string[] | null;
  HostConfig: HostConfig;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  SizeRw?: number;
  SizeRootFs?: number;
  Mounts: MountSummary[];
  Config: ContainerConfig;
  NetworkSettings: {
    Bridge?: string;
    SandboxID: string;
    SandboxKey: string;
    Ports: Record<string, { HostIp: string; HostPort: string }[] | null>;
    Networks: Record<string, EndpointSettings>;
    [legacy: string]: unknown;
  };
}

/** `POST /containers/create` */
export interface ContainerCreated {
  Id: string;
  Warnings: string[];
}

/** `POST /containers/{id}/wait` */
export interface ContainerWaited {
  StatusCode: number;
  Error?: { Message: string };
}

/** `GET /containers/{id}/top` */
export interface ContainerTop {
  Titles: string[];
  Processes: string[][] | null;
}

/** `GET /containers/{id}/changes`; Kind 0 modified, 1 added, 2 deleted. */
export interface ContainerChange {
  Path: string;
  Kind: 0 | 1 | 2;
}

/** `GET /exec/{id}/json` */
export interface ExecInspect {
  ID: string;
  Running: boolean;
  ExitCode: number | null;
  ProcessConfig: { tty: boolean; entrypoint: string; arguments: string[]; privileged?: boolean; user?: string };
  OpenStdin: boolean;
  OpenStderr: boolean;
  OpenStdout: boolean;
  CanRemove: boolean;
  ContainerID: string;
  DetachKeys: string;
  Pid: number;
}
