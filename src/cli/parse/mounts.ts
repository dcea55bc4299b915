import { resolve } from "node:path";
import type { MountConfig } from "../../oci/container.ts";
import { parseIdMapping, type IDMapping } from "../../oci/id-mapping.ts";
import { CliError } from "../errors.ts";
import { parseBytes } from "../../lib/bytes.ts";

/** `-v` values: `source:target[:options]` are binds (a relative source is made absolute), a bare `target` is an anonymous volume. @throws CliError */
export function parseVolumes(specs: readonly string[]): { binds: string[]; anonymous: Record<string, object> } {
  const binds: string[] = [];
  const anonymous: Record<string, object> = {};
  for (const spec of specs) {
    const parts = spec.split(":");
    if (parts.length > 3) throw new CliError(`invalid spec: ${spec}: too many colons`);
    if (parts.some((part) => part === "")) throw new CliError(`invalid spec: ${spec}: empty section between colons`);
    const [source = "", ...rest] = parts;
    if (rest.length === 0) anonymous[source] = {};
    else binds.push([source.startsWith(".") ? resolve(source) : source, ...rest].join(":"));
  }
  return { binds, anonymous };
}

/** `--tmpfs` values: `path[:options]`. */
export function parseTmpfs(specs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    specs.map((spec) => {
      const colon = spec.indexOf(":");
      return colon < 0 ? [spec, ""] : [spec.slice(0, colon), spec.slice(colon + 1)];
    }),
  );
}

/** Splits a line of CSV; a field may stand in double quotes. */
export function csvFields(line: string): string[] {
  const fields: string[] = [];
  for (const match of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)) fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
  return fields;
}

/** A `--mount` value: `type=bind,source=/a,target=/b,readonly`. @throws CliError in Docker's words */
export function parseMount(spec: string): MountConfig {
  const mount: MountConfig = { Type: "volume", Target: "" };
  const volume = (): NonNullable<MountConfig["VolumeOptions"]> => (mount.VolumeOptions ??= {});
  const driver = () => (volume().DriverConfig ??= {});
  const bind = (): NonNullable<MountConfig["BindOptions"]> => (mount.BindOptions ??= {});
  const tmpfs = (): NonNullable<MountConfig["TmpfsOptions"]> => (mount.TmpfsOptions ??= {});

  let owners: IDMapping | undefined;

  for (const field of csvFields(spec)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase().trim();
    const value = equals < 0 ? undefined : field.slice(equals + 1);
    if (value === undefined && !["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src", "idmap", "bind-idmap"].includes(key)) {
      throw new CliError(`invalid field '${field}' must be a key=value pair`);
    }
    const text = value ?? "";
    const flag = (): boolean => mountBool(key, value);
    switch (key) {
      case "type":
        mount.Type = text.toLowerCase() as MountConfig["Type"];
        break;
      case "source":
      case "src":
        mount.Source = text;
        break;
      case "target":
      case "dst":
      case "destination":
        mount.Target = text;
        break;
      case "readonly":
      case "ro":
        mount.ReadOnly = flag();
        break;
      case "consistency":
        mount.Consistency = text.toLowerCase();
        break;
      case "bind-propagation":
        bind().Propagation = text.toLowerCase();
        break;
      case "bind-nonrecursive":
        bind().NonRecursive = flag();
        break;
      case "bind-create-src":
        bind().CreateMountpoint = flag();
        break;
      case "bind-recursive":
        bindRecursive(bind(), mount, text);
        break;
      case "idmap":
      case "bind-idmap":
        try {
          owners = parseIdMapping(text);
        } catch (error) {
          throw new CliError((error as Error).message);
        }
        break;
      case "volume-subpath":
        volume().Subpath = text;
        break;
      case "volume-nocopy":
        volume().NoCopy = flag();
        break;
      case "volume-label":
        setPair((volume().Labels ??= {}), text);
        break;
      case "volume-driver":
        driver().Name = text;
        break;
      case "volume-opt":
        setPair((driver().Options ??= {}), text);
        break;
      case "image-subpath":
        mount.ImageOptions = { Subpath: text };
        break;
      case "tmpfs-size": {
        const size = parseBytes(text);
        if (size === undefined) throw new CliError(`invalid value for ${key}: ${text}`);
        tmpfs().SizeBytes = size;
        break;
      }
      case "tmpfs-mode":
        if (!/^[0-7]{1,5}$/.test(text)) throw new CliError(`invalid value for ${key}: ${text}`);
        tmpfs().Mode = Number.parseInt(text, 8);
        break;
      default:
        throw new CliError(`unexpected key '${key}' in '${field}'`);
    }
  }
  if (owners !== undefined) (mount.Type === "volume" ? volume() : bind()).IDMapping = owners;
  return checked(mount, spec);
}

function checked(mount: MountConfig, spec: string): MountConfig {
  const { Type: type, Source: source } = mount;
  if (mount.Target === "") throw new CliError(`invalid mount: target is required in '${spec}'`);
  if (type !== "bind" && mount.BindOptions !== undefined) throw new CliError(`cannot mix 'bind-*' options with mount type '${type}'`);
  if (type !== "volume" && mount.VolumeOptions !== undefined) throw new CliError(`cannot mix 'volume-*' options with mount type '${type}'`);
  if (type !== "tmpfs" && mount.TmpfsOptions !== undefined) throw new CliError(`cannot mix 'tmpfs-*' options with mount type '${type}'`);
  if (type !== "image" && mount.ImageOptions !== undefined) throw new CliError(`cannot mix 'image-*' options with mount type '${type}'`);
  if (type === "bind" && source !== undefined && source.startsWith(".")) mount.Source = resolve(source);
  return mount;
}

function bindRecursive(options: NonNullable<MountConfig["BindOptions"]>, mount: MountConfig, text: string): void {
  if (text === "enabled") return;
  if (text === "disabled") options.NonRecursive = true;
  else if (text === "writable") options.ReadOnlyNonRecursive = true;
  else if (text === "readonly") {
    options.ReadOnlyForceRecursive = true;
    mount.ReadOnly ??= true;
  } else throw new CliError(`invalid value for bind-recursive: ${text} (must be "enabled", "disabled", "writable", or "readonly")`);
}

function mountBool(key: string, value: string | undefined): boolean {
  if (value === undefined || /^(?:1|t|true)$/i.test(value)) return true;
  if (/^(?:0|f|false)$/i.test(value)) return false;
  throw new CliError(`invalid value for ${key}: ${value}`);
}

function setPair(target: Record<string, string>, text: string): void {
  const equals = text.indexOf("=");
  target[equals < 0 ? text : text.slice(0, equals)] = equals < 0 ? "" : text.slice(equals + 1);
}
