import type {
  ContainerChange,
  ContainerCreated,
  ContainerTop,
  ContainerWaited,
  ContainerInspect as FullContainer,
  ContainerSummary as FullSummary,
  ExecInspect as FullExec,
  PortSummary,
} from "../api/types/containers.ts";
import type { ImageInspect as FullImage, ImageSummary as FullImageSummary, ImageHistoryItem } from "../api/types/images.ts";
import type { NetworkInspect, Volume } from "../api/types/networks.ts";
import type { ContainerConfig, HostConfig, NetworkingConfig } from "../oci/container.ts";

/** What the client reads of the engine's answers, under Docker's names. Older engines, and others, leave fields out. */

/** An answer of which only these fields are sure to be there; lists and maps may be null, as Go writes those that it hasn't got. */
type Answer<T, Sure extends keyof T> = Pick<T, Sure> & {
  [Name in Exclude<keyof T, Sure>]?: T[Name] extends object | null | undefined ? T[Name] | null : T[Name];
};
/** Fields that this client doesn't know are shown all the same. */
type More = { [field: string]: unknown };

export type { PortSummary };
export type ContainerSummary = Answer<FullSummary, "Id" | "Names" | "Image" | "ImageID" | "Command" | "Created" | "State" | "Status">;
export type ContainerInspect = Pick<FullContainer, "Id" | "Created" | "Name" | "Image" | "State" | "Config" | "HostConfig" | "NetworkSettings"> & More;
export type ContainerCreateResponse = Answer<ContainerCreated, "Id">;
export type WaitResponse = Answer<ContainerWaited, "StatusCode">;
export type TopResponse = ContainerTop;
export type FilesystemChange = ContainerChange;
export type ExecInspect = Answer<FullExec, "ID" | "Running" | "ExitCode" | "Pid">;
export type ImageSummary = Answer<FullImageSummary, "Id" | "ParentId" | "Created" | "Size" | "SharedSize" | "Containers">;
export type ImageInspect = Answer<FullImage, "Id" | "Architecture" | "Os" | "Size"> & More;
export type HistoryItem = ImageHistoryItem;
export type NetworkResource = Answer<NetworkInspect, "Name" | "Id" | "Created" | "Scope" | "Driver" | "EnableIPv6" | "Internal"> & More;
export type VolumeResource = Answer<Volume, "Name" | "Driver" | "Mountpoint" | "Scope"> & More;

export type Filters = Record<string, readonly string[]>;

export interface ContainerCreateRequest extends ContainerConfig {
  HostConfig: HostConfig;
  NetworkingConfig: NetworkingConfig;
}

export interface ExecCreateRequest {
  Cmd: string[];
  AttachStdin: boolean;
  AttachStdout: boolean;
  AttachStderr: boolean;
  Tty: boolean;
  Env?: string[];
  User?: string;
  WorkingDir?: string;
  Privileged?: boolean;
  DetachKeys?: string;
  ConsoleSize?: [number, number];
}

export interface ImageDeleteItem {
  Untagged?: string;
  Deleted?: string;
}

export interface SearchResult {
  name: string;
  description: string;
  star_count: number;
  is_official: boolean;
}

/** A line of what pull, push, load, import and build answer (Docker's jsonmessage). */
export interface ProgressLine {
  stream?: string;
  status?: string;
  id?: string;
  progress?: string;
  progressDetail?: { current?: number; total?: number; units?: string; start?: number; hidecounts?: boolean };
  aux?: unknown;
  error?: string;
  errorDetail?: { code?: number; message?: string };
}

/** One platform of an image, as one engine offers it to another. */
export interface ImageOffer {
  reference: string;
  platform: string;
  /** Id. */
  image: string;
  /** Digest of the index or manifest that the name stands for. */
  root: string;
  /** A registry has it under that digest. */
  digested: boolean;
  /** In base64: all of it that is no layer. */
  documents: string[];
  diffIds: string[];
  layers: { digest: string; size: number }[];
}

/** A layer that an engine lacks, with the ranges of bytes that haven't come yet. */
export interface MissingLayer {
  digest: string;
  size: number;
  ranges: { start: number; end: number }[];
}

/** What `POST /berth/system/check` found. */
export interface CheckProblem {
  kind: string;
  id: string;
  images: string[];
  problem: string;
  repaired?: string;
  next?: string;
}

export interface CheckReport {
  checked: { blobs: number; bytes: number; layers: number; images: number; containers: number };
  problems: CheckProblem[];
}

/** What `POST /berth/networks/check` found. */
export interface NetworkReport {
  checked: { networks: number; containers: number; ports: number };
  problems: { kind: string; network?: string; container?: string; level: "problem" | "hint"; problem: string; next?: string; repaired?: string }[];
}

export interface NetworkCreateRequest {
  Name: string;
  Driver: string;
  Scope?: string;
  Internal: boolean;
  Attachable: boolean;
  Ingress?: boolean;
  ConfigOnly?: boolean;
  ConfigFrom?: { Network: string };
  EnableIPv4?: boolean;
  EnableIPv6?: boolean;
  IPAM: {
    Driver: string;
    Options?: Record<string, string>;
    Config?: { Subnet?: string; IPRange?: string; Gateway?: string; AuxiliaryAddresses?: Record<string, string> }[];
  };
  Options: Record<string, string>;
  Labels: Record<string, string>;
}

export interface EventMessage {
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> | null };
  scope?: string;
  /** Unix seconds. */
  time: number;
  timeNano: number;
}

export interface BuildCacheItem {
  ID: string;
  Type: string;
  Description: string;
  InUse: boolean;
  Shared: boolean;
  Size: number;
  CreatedAt: string;
  LastUsedAt?: string | null;
  UsageCount: number;
}

/** `GET /system/df` as up to 1.51, and in parts of the same names later. */
export interface DiskUsage {
  LayersSize?: number;
  Images?: ImageSummary[] | null;
  Containers?: ContainerSummary[] | null;
  Volumes?: VolumeResource[] | null;
  BuildCache?: BuildCacheItem[] | null;
  ImageUsage?: DiskUsagePart<ImageSummary>;
  ContainerUsage?: DiskUsagePart<ContainerSummary>;
  VolumeUsage?: DiskUsagePart<VolumeResource>;
  BuildCacheUsage?: DiskUsagePart<BuildCacheItem>;
}

/** Since API 1.52. */
export interface DiskUsagePart<T> {
  ActiveCount?: number;
  TotalCount?: number;
  Reclaimable?: number;
  TotalSize?: number;
  /** Of images, Berth's own: blobs that are kept beside the unpacked layers. */
  BlobsSize?: number;
  Items?: T[] | null;
}

export interface VersionResponse {
  Platform?: { Name: string };
  Components?: { Name: string; Version: string; Details?: Record<string, string> }[];
  Version: string;
  ApiVersion: string;
  MinAPIVersion?: string;
  GitCommit?: string;
  GoVersion?: string;
  Os: string;
  Arch: string;
  KernelVersion?: string;
  BuildTime?: string;
  Experimental?: boolean;
}

export type InfoResponse = Record<string, unknown>;

/** A sample of `GET /containers/x/stats`; what a kernel doesn't count is missing. */
export interface StatsSample {
  id?: string;
  name?: string;
  read: string;
  preread: string;
  pids_stats?: { current?: number; limit?: number };
  cpu_stats?: CpuStats;
  precpu_stats?: CpuStats;
  memory_stats?: { usage?: number; limit?: number; stats?: Record<string, number> };
  networks?: Record<string, { rx_bytes: number; tx_bytes: number }> | null;
  blkio_stats?: { io_service_bytes_recursive?: { op: string; value: number }[] | null };
}

export interface CpuStats {
  cpu_usage?: { total_usage?: number; percpu_usage?: number[] | null };
  system_cpu_usage?: number;
  online_cpus?: number;
}

export interface PruneResponse {
  ContainersDeleted?: string[] | null;
  ImagesDeleted?: ImageDeleteItem[] | null;
  NetworksDeleted?: string[] | null;
  VolumesDeleted?: string[] | null;
  CachesDeleted?: string[] | null;
  SpaceReclaimed?: number;
}

/** As in `X-Registry-Auth` and config.json. */
export interface AuthConfig {
  username?: string;
  password?: string;
  auth?: string;
  email?: string;
  serveraddress?: string;
  identitytoken?: string;
  registrytoken?: string;
}
