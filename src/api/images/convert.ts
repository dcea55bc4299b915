import type { ImageRecord } from "../../images/types.ts";
import { formatNano, zeroTime } from "../../lib/time.ts";
import { unixSeconds } from "../time.ts";
import type { ImageInspect, ImageSummary } from "../types/images.ts";
import { gateFields, type ApiVersion, type FieldGate } from "../versions.ts";

const inspectGates: FieldGate[] = [
  { path: "VirtualSize", until: 44 },
  { path: "Container", until: 45 },
  { path: "ContainerConfig", until: 45 },
];

/** Fields of a container's config that images showed until 1.49, always empty. */
const runtimeFields = {
  Hostname: "",
  Domainname: "",
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Image: "",
};

/** Shown until 1.51 also where they are empty. */
const emptyFields = { User: "", Env: null, Cmd: null, Volumes: null, WorkingDir: "", Entrypoint: null, OnBuild: null, Labels: null };

export function toImageInspect(record: ImageRecord, context: { api: ApiVersion; snapshots: string }): ImageInspect {
  const { config, layers } = record;
  const { api, snapshots } = context;
  const paths = layers.map((layer) => `${snapshots}/${layer}`).toReversed();
  const defaults = { ...(api < 50 ? runtimeFields : {}), ...(api < 52 ? emptyFields : {}) };
  const optional = <T extends object>(fields: T): Partial<T> =>
    api < 52 ? fields : (Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== "")) as Partial<T>);
  const inspect: ImageInspect = {
    Id: record.id,
    RepoTags: record.repoTags,
    RepoDigests: record.repoDigests,
    ...optional({
      Parent: record.parent ?? "",
      Comment: config.comment ?? lastComment(record),
      Author: config.author ?? "",
      DockerVersion: config.docker_version ?? "",
    }),
    ...(config.created !== undefined ? { Created: config.created } : api < 44 ? { Created: zeroTime } : {}),
    Container: config.container ?? "",
    ContainerConfig: { ...runtimeFields, ...emptyFields },
    Config: { ...defaults, ...withoutNulls(config.config ?? {}) },
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    ...(config["os.version"] === undefined ? {} : { OsVersion: config["os.version"] }),
    Size: record.size,
    VirtualSize: record.size,
    GraphDriver: {
      Name: "overlay2",
      Data: paths.length === 0 ? null : { ...(paths.length === 1 ? {} : { LowerDir: paths.slice(1).join(":") }), UpperDir: paths[0]! },
    },
    RootFS: { Type: "layers", Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: formatNano(record.lastTagged ?? 0n) },
  };
  return gateFields(inspect, inspectGates, api);
}

function lastComment({ config }: ImageRecord): string {
  return config.history?.at(-1)?.comment ?? "";
}

/** Where an image says null, clients are shown what they are shown for nothing. */
function withoutNulls<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== null)) as Partial<T>;
}

/** `containers`: how many stand on the image; `sharedSize`: -1 where it wasn't asked for. */
export function toImageSummary(record: ImageRecord, context: { api: ApiVersion; containers: number; sharedSize: number }): ImageSummary {
  const { api } = context;
  const nameless = api < 43 && record.repoTags.length === 0 && record.repoDigests.length === 0;
  return {
    Id: record.id,
    ParentId: record.parent ?? "",
    RepoTags: nameless ? ["<none>:<none>"] : record.repoTags,
    RepoDigests: nameless ? ["<none>@<none>"] : record.repoDigests,
    Created: unixSeconds(record.config.created),
    Size: record.size,
    ...(api < 44 ? { VirtualSize: record.size } : {}),
    SharedSize: context.sharedSize,
    Labels: record.config.config?.Labels ?? null,
    Containers: api < 51 ? -1 : context.containers,
  };
}
