import { isAbsolute, normalize, posix } from "node:path";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { HostConfig, MountConfig } from "../oci/container.ts";
import { checkName } from "../volumes/names.ts";
import { checkIdMapping, parseIdMapping, type IDMapping } from "../oci/id-mapping.ts";

/** One mount as asked for, whichever way it was written: Binds, Mounts, Config.Volumes, Tmpfs. */
export interface MountRequest {
  type: "bind" | "volume" | "tmpfs" | "image";
  /** Host path (bind), volume name (volume; empty for an anonymous one), reference (image), empty for tmpfs. */
  source: string;
  destination: string;
  readOnly: boolean;
  /** Mode as it stood in Binds (`ro,z`), which inspect echoes. */
  mode: string;
  propagation: string;
  /** The client said nothing of propagation. */
  isDefaultPropagation?: boolean;
  /** `rbind` unless the client asked for a plain bind. */
  recursive: boolean;
  /** Binds make a missing source directory, Mounts of type bind don't. */
  createSource: boolean;
  copy: boolean;
  /** Of Config.Volumes, which the image may have given. */
  fromConfig?: boolean;
  driver?: string;
  driverOptions: Record<string, string>;
  labels: Record<string, string>;
  subpath?: string;
  /** What is mounted below a read-only bind: writable as it was, or read-only too or refused. Undefined: read-only where the host can. */
  readOnlyBelow?: "never" | "always";
  /** How the owners of its files are shown. */
  owners?: IDMapping;
  /** mount(8) options of a tmpfs. */
  tmpfsOptions: string[];
}

const propagations = new Set(["private", "rprivate", "slave", "rslave", "shared", "rshared"]);
/** Of each group one at most may stand in a mode. */
const modeGroups: readonly ReadonlySet<string>[] = [
  new Set(["rw", "ro"]),
  new Set(["z", "Z"]),
  propagations,
  new Set(["nocopy"]),
  new Set(["consistent", "cached", "delegated", "default"]),
];
/** `idmap`, `idmap=USER` and so on: ours, passed on by Docker's command line as it stands. */
const isIdMapWord = (word: string): boolean => word === "idmap" || word.startsWith("idmap=");

function parseMode(mode: string): Set<string> | undefined {
  if (mode === "") return new Set();
  const words = mode.split(",");
  for (const word of words) if (!isIdMapWord(word) && !modeGroups.some((group) => group.has(word))) return undefined;
  for (const group of modeGroups) if (words.filter((word) => group.has(word)).length > 1) return undefined;
  if (words.filter(isIdMapWord).length > 1) return undefined;
  return new Set(words);
}

/** Absolute, cleaned, not the root. Texts as Docker's. */
function checkDestination(path: string): string {
  const clean = normalize(path).replace(/(.)\/+$/, "$1");
  if (clean === "/" || path === "") throw invalidArgument(`invalid specification: destination can't be '/'`);
  if (!isAbsolute(path)) throw invalidArgument(`invalid mount path: '${path}' mount path must be absolute`);
  if (path.includes("\0")) throw invalidArgument("invalid mount path: it holds a NUL byte");
  return clean;
}

const nothing = { mode: "", propagation: "", recursive: true, createSource: false, copy: true, driverOptions: {}, labels: {}, tmpfsOptions: [] };

/** One entry of HostConfig.Binds: `/host:/container[:mode]`, `volume:/container[:mode]` or `/container`. @throws EngineError invalidArgument */
export function parseBind(text: string, volumeDriver = ""): MountRequest {
  const invalid = (why = ""): Error => invalidArgument(`invalid volume specification: '${text}'${why === "" ? "" : `: ${why}`}`);
  const parts = text.split(":");
  if (parts.length > 3 || parts[0] === "") throw invalid();
  if (parts.length === 2 && parseMode(parts[1] as string) !== undefined) throw invalid();
  const [first = "", second, mode = ""] = parts;
  const words = parseMode(mode);
  if (words === undefined) throw invalidArgument(`invalid mode: ${mode}`);
  const source = second === undefined ? "" : first;
  let destination: string;
  try {
    destination = checkDestination(second ?? first);
  } catch (error) {
    throw invalid(`invalid mount config for type "${isAbsolute(source) ? "bind" : "volume"}": ${(error as Error).message}`);
  }
  const type = isAbsolute(source) ? "bind" : "volume";
  const propagation = [...words].find((word) => propagations.has(word));
  if (type === "volume" && source !== "") checkName(source);
  if (type === "volume" && propagation !== undefined) throw invalid(`invalid mount config for type "volume": field BindOptions must not be specified`);
  if (type === "bind" && words.has("nocopy")) throw invalid(`invalid mount config for type "bind": field VolumeOptions must not be specified`);
  return {
    ...nothing,
    type,
    source: type === "bind" ? normalize(source).replace(/(.)\/+$/, "$1") : source,
    destination,
    readOnly: words.has("ro"),
    mode,
    propagation: type === "bind" ? (propagation ?? "rprivate") : "",
    ...(type === "bind" && propagation === undefined ? { isDefaultPropagation: true } : {}),
    createSource: true,
    copy: !words.has("nocopy"),
    driver: type === "volume" && volumeDriver !== "" ? volumeDriver : undefined,
    ...ownersIn(words, invalid),
  };
}

function ownersIn(words: ReadonlySet<string>, invalid: (why: string) => Error): { owners?: IDMapping } {
  const word = [...words].find(isIdMapWord);
  if (word === undefined) return {};
  try {
    return { owners: parseIdMapping(word.slice("idmap=".length)) };
  } catch (error) {
    throw invalid(messageOf(error));
  }
}

function tmpfsSize(bytes: number): string {
  for (const [suffix, unit] of [
    ["g", 1 << 30],
    ["m", 1 << 20],
    ["k", 1 << 10],
  ] as const) {
    if (bytes % unit === 0) return `size=${bytes / unit}${suffix}`;
  }
  return `size=${bytes}`;
}

function tmpfsOptions(mount: MountConfig): string[] {
  const asked = mount.TmpfsOptions ?? {};
  const options: string[] = ["nosuid", "nodev", "noexec"];
  if (asked.Mode !== undefined && asked.Mode !== 0) options.push(`mode=${asked.Mode.toString(8)}`);
  if (asked.SizeBytes !== undefined && asked.SizeBytes !== 0) {
    if (!Number.isSafeInteger(asked.SizeBytes) || asked.SizeBytes < 0) throw new Error(`invalid tmpfs size: ${asked.SizeBytes}`);
    options.push(tmpfsSize(asked.SizeBytes));
  }
  for (const option of asked.Options ?? []) {
    if (option.length < 1 || option.length > 2) throw new Error("invalid option array length");
    if (option[0] !== "exec" && option[0] !== "noexec") throw new Error(`invalid option: ${option[0]}`);
    if (option[0] === "exec") options.splice(options.indexOf("noexec"), 1, "exec");
  }
  return options;
}

const exclusiveOptions = [
  ["BindOptions", "bind"],
  ["VolumeOptions", "volume"],
  ["ImageOptions", "image"],
  ["TmpfsOptions", "tmpfs"],
] as const;

/** Relative, and not leading out by its words alone. */
function isLocal(path: string): boolean {
  const clean = posix.normalize(path);
  return !posix.isAbsolute(clean) && clean !== ".." && !clean.startsWith("../");
}

/** One entry of HostConfig.Mounts. Whether a bind's source exists is asked later. @throws EngineError invalidArgument */
export function parseMount(mount: MountConfig): MountRequest {
  const invalid = (why: string): Error => invalidArgument(`invalid mount config for type "${mount.Type}": ${why}`);
  const ownersOf = (owners: IDMapping | undefined): { owners?: IDMapping } => {
    try {
      return owners === undefined ? {} : { owners: checkIdMapping(owners) };
    } catch (error) {
      throw invalid(messageOf(error));
    }
  };
  const extra = (field: string): Error => invalid(`field ${field} must not be specified`);
  if (!mount.Target) throw invalid("field Target must not be empty");
  let destination: string;
  try {
    destination = checkDestination(mount.Target);
  } catch (error) {
    throw invalid((error as Error).message);
  }
  for (const [options, type] of exclusiveOptions) if (mount[options] !== undefined && mount.Type !== type) throw extra(options);
  const base = { ...nothing, source: mount.Source ?? "", destination, readOnly: mount.ReadOnly === true };
  switch (mount.Type) {
    case "bind": {
      if (base.source === "") throw invalid("field Source must not be empty");
      if (!isAbsolute(base.source)) throw invalid(`invalid mount path: '${base.source}' mount path must be absolute`);
      const propagation = mount.BindOptions?.Propagation || "rprivate";
      if (!propagations.has(propagation)) throw invalid(`invalid propagation mode: ${propagation}`);
      const { ReadOnlyNonRecursive: never, ReadOnlyForceRecursive: always } = mount.BindOptions ?? {};
      for (const [name, isAsked] of Object.entries({ ReadOnlyNonRecursive: never, ReadOnlyForceRecursive: always })) {
        if (isAsked === true && !base.readOnly) throw invalid(`mount options conflict: !ReadOnly && BindOptions.${name}`);
      }
      if (never === true && always === true) throw invalid("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive");
      return {
        ...base,
        type: "bind",
        source: normalize(base.source).replace(/(.)\/+$/, "$1"),
        propagation,
        ...(mount.BindOptions?.Propagation ? {} : { isDefaultPropagation: true }),
        recursive: mount.BindOptions?.NonRecursive !== true,
        createSource: mount.BindOptions?.CreateMountpoint === true,
        ...ownersOf(mount.BindOptions?.IDMapping),
        ...(never === true ? { readOnlyBelow: "never" as const } : always === true ? { readOnlyBelow: "always" as const } : {}),
      };
    }
    case "volume": {
      const options = mount.VolumeOptions ?? {};
      if (base.source === "" && base.readOnly) throw invalid("must not set ReadOnly mode when using anonymous volumes");
      if (base.source !== "") checkName(base.source);
      if (options.Subpath) {
        if (base.source === "") throw invalid("must not set Subpath when using anonymous volumes");
        if (!isLocal(options.Subpath)) throw invalid("subpath must be a relative path within the volume");
      }
      return {
        ...base,
        type: "volume",
        copy: options.NoCopy !== true,
        driver: options.DriverConfig?.Name || undefined,
        driverOptions: options.DriverConfig?.Options ?? {},
        labels: options.Labels ?? {},
        subpath: options.Subpath || undefined,
        ...ownersOf(options.IDMapping),
      };
    }
    case "tmpfs":
      if (base.source !== "") throw extra("Source");
      try {
        return { ...base, type: "tmpfs", tmpfsOptions: tmpfsOptions(mount) };
      } catch (error) {
        throw invalid((error as Error).message);
      }
    case "image": {
      if (base.source === "") throw invalid("field Source must not be empty");
      const subpath = mount.ImageOptions?.Subpath || undefined;
      if (subpath !== undefined && !isLocal(subpath)) throw invalid("subpath must be a relative path within the volume");
      return { ...base, type: "image", readOnly: true, propagation: "rprivate", subpath };
    }
    default:
      throw invalid("mount type unknown");
  }
}

/** One entry of HostConfig.Tmpfs. Docker's defaults are nosuid, nodev and noexec; the client's words replace their opposites. */
export function parseTmpfs(destination: string, text: string): MountRequest {
  const options = new Map([
    ["suid", "nosuid"],
    ["dev", "nodev"],
    ["exec", "noexec"],
  ]);
  let readOnly = false;
  for (const word of text.split(",").filter((option) => option !== "")) {
    // the words of mount(8) that Docker takes: moby/sys, mount/flags_linux.go
    if (word === "defaults") continue;
    if (word === "ro") readOnly = true;
    else if (word === "rw") readOnly = false;
    else if (/^(no)?(suid|dev|exec)$/.test(word)) options.set(word.replace(/^no/, ""), word);
    else if (/^((size|nr_blocks|nr_inodes|mode|uid|gid)=[\w%]+|mpol=[\w:=-]+)$/.test(word)) options.set(word.slice(0, word.indexOf("=")), word);
    else if (/^(no|rel|strict)?atime$|^(no)?diratime$|^(a?sync|r?(private|shared|slave|unbindable))$/.test(word)) options.set(word, word);
    else throw invalidArgument(`invalid tmpfs option ${JSON.stringify(word)}`);
  }
  return { ...nothing, type: "tmpfs", source: "", destination: checkDestination(destination), readOnly, tmpfsOptions: [...options.values()] };
}

/** `container[:mode]` of HostConfig.VolumesFrom. @throws EngineError invalidArgument */
export function parseVolumesFrom(text: string): { container: string; readOnly: boolean; mode: string } {
  const at = text.indexOf(":");
  const container = at < 0 ? text : text.slice(0, at);
  const mode = at < 0 ? "" : text.slice(at + 1);
  if (container === "") throw invalidArgument("volumes-from specification cannot be an empty string");
  const words = parseMode(mode);
  if (words === undefined || words.has("nocopy") || [...words].some((word) => propagations.has(word) || isIdMapWord(word)))
    throw invalidArgument(`invalid mode: ${mode}`);
  return { container, readOnly: words.has("ro"), mode };
}

/** All requests that stand in a HostConfig, checked; Config.Volumes are added by create. @throws EngineError invalidArgument */
export function mountRequests(host: HostConfig): MountRequest[] {
  const requests = [
    ...(host.Binds ?? []).map((bind) => parseBind(bind, host.VolumeDriver)),
    ...(host.Mounts ?? []).map(parseMount),
    ...Object.entries(host.Tmpfs ?? {}).map(([path, options]) => parseTmpfs(path, options)),
  ];
  const seen = new Set<string>();
  for (const { destination } of requests) {
    if (seen.has(destination)) throw invalidArgument(`Duplicate mount point: ${destination}`);
    seen.add(destination);
  }
  return requests;
}
