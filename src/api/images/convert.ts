import type { ImageEntry, ImageRecord, ManifestSummary } from "../../images/types.ts";
import { formatNano, zeroTime } from "../../lib/time.ts";
import type { Descriptor } from "../../oci/image.ts";
import { parseReference, repositoryOf } from "../../oci/reference.ts";
import { unixSeconds } from "../time.ts";
import type { ImageIdentity, ImageInspect, ImageManifestSummary, ImageSummary } from "../types/images.ts";
import { gateFields, type ApiVersion, type FieldGate } from "../versions.ts";

const inspectGates: FieldGate[] = [
  { path: "VirtualSize", until: 44 },
  { path: "Container", until: 45 },
  { path: "ContainerConfig", until: 45 },
  { path: "Descriptor", since: 48 },
  { path: "Manifests", since: 48 },
  { path: "Identity", since: 53 },
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

/** `manifests`: where they were asked for; `descriptor`: of what the name stands for, or of the platform that was asked for. */
export function toImageInspect(
  record: ImageRecord,
  context: { api: ApiVersion; snapshots: string; descriptor: Descriptor | undefined; manifests?: ImageManifestSummary[] | undefined },
): ImageInspect {
  const { config, layers } = record;
  const { api, snapshots, descriptor, manifests } = context;
  const identity = toIdentity(record);
  const paths = layers.map((layer) => `${snapshots}/${layer}`).toReversed();
  const defaults = { ...(api < 50 ? runtimeFields : {}), ...(api < 52 ? emptyFields : {}) };
  const optional = <T extends object>(fields: T): Partial<T> =>
    api < 52 ? fields : (Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== "")) as Partial<T>);
  const inspect: ImageInspect = {
    Id: record.id,
    ...(descriptor === undefined ? {} : { Descriptor: descriptor }),
    ...(manifests === undefined ? {} : { Manifests: manifests }),
    ...(identity === undefined ? {} : { Identity: identity }),
    RepoTags: [...record.repoTags, ...record.variantOf.tags],
    RepoDigests: [...record.repoDigests, ...record.variantOf.digests],
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

/** Digests come with a pull or a push only: their repositories are where the image was seen by the engine itself. */
function toIdentity({ repoDigests, variantOf }: ImageEntry): ImageIdentity | undefined {
  const repositories = new Set([...repoDigests, ...variantOf.digests].map((name) => repositoryOf(parseReference(name))));
  return repositories.size === 0 ? undefined : { Pull: [...repositories].map((Repository) => ({ Repository })) };
}

/** `containersOf`: ids of those that stand on an image; `identity`: whether it is to be told. */
export function toManifestSummary(
  summary: ManifestSummary,
  context: { containersOf: (image: ImageEntry) => string[]; identity: boolean },
): ImageManifestSummary {
  const { descriptor, kind, available, contentSize, platform, image, subject } = summary;
  const unpacked = image?.size ?? 0;
  const identity = context.identity && image !== undefined ? toIdentity(image) : undefined;
  return {
    ID: descriptor.digest,
    Descriptor: descriptor,
    Available: available,
    Size: { Content: contentSize, Total: contentSize + unpacked },
    Kind: kind,
    ...(kind === "image"
      ? {
          ImageData: {
            Platform: platform!,
            ...(identity === undefined ? {} : { Identity: identity }),
            Containers: image === undefined ? [] : context.containersOf(image),
            Size: { Unpacked: unpacked },
          },
        }
      : {}),
    ...(subject === undefined ? {} : { AttestationData: { For: subject } }),
  };
}

/** `containers`: how many stand on the image; `sharedSize`: -1 where it wasn't asked for. */
export function toImageSummary(
  record: ImageEntry,
  context: { api: ApiVersion; containers: number; sharedSize: number; descriptor: Descriptor | undefined; manifests?: ImageManifestSummary[] | undefined },
): ImageSummary {
  const { api, descriptor, manifests } = context;
  const nameless = api < 43 && record.repoTags.length === 0 && record.repoDigests.length === 0;
  return {
    Id: record.id,
    ParentId: record.parent ?? "",
    RepoTags: nameless ? ["<none>:<none>"] : record.repoTags,
    RepoDigests: nameless ? ["<none>@<none>"] : record.repoDigests,
    Created: unixSeconds(record.facts.created),
    Size: record.size,
    ...(api < 44 ? { VirtualSize: record.size } : {}),
    SharedSize: context.sharedSize,
    Labels: record.facts.labels,
    Containers: api < 51 ? -1 : context.containers,
    ...(api < 48 || descriptor === undefined ? {} : { Descriptor: descriptor }),
    ...(manifests === undefined ? {} : { Manifests: manifests }),
  };
}
