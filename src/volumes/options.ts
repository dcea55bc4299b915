import { isAbsolute } from "node:path";
import { MS } from "../kernel/mount.ts";
import { invalidArgument } from "../lib/errors.ts";

/** What mount(2) is told for a volume with options. */
export interface LocalMount {
  type: string;
  device: string;
  flags: number;
  data: string;
}

/** Words of mount(8) that are flags of mount(2), with the value that they set or clear. */
const flagWords: Readonly<Record<string, readonly [flag: number, set: boolean]>> = {
  ro: [MS.RDONLY, true],
  rw: [MS.RDONLY, false],
  nosuid: [MS.NOSUID, true],
  suid: [MS.NOSUID, false],
  nodev: [MS.NODEV, true],
  dev: [MS.NODEV, false],
  noexec: [MS.NOEXEC, true],
  exec: [MS.NOEXEC, false],
  noatime: [MS.NOATIME, true],
  atime: [MS.NOATIME, false],
  bind: [MS.BIND, true],
  rbind: [MS.BIND | MS.REC, true],
  defaults: [0, true],
};

const known = new Set(["type", "device", "o"]);

/**
 * `type`, `device` and `o` of the local driver; undefined without any. Network file systems need a helper of their own in user space
 * (address look-up, credentials) and are refused by name. @throws EngineError invalidArgument
 */
export function parseLocalOptions(name: string, options: Record<string, string>): LocalMount | undefined {
  for (const key of Object.keys(options)) {
    if (key === "size") throw invalidArgument(`create ${name}: quota size requested but no quota support`);
    if (!known.has(key)) throw invalidArgument(`create ${name}: invalid option: ${JSON.stringify(key)}`);
  }
  if (Object.keys(options).length === 0) return undefined;
  const { type = "", device = "", o = "" } = options;
  let flags = 0;
  const data: string[] = [];
  for (const word of o.split(",").filter((part) => part !== "")) {
    const flag = flagWords[word];
    if (flag === undefined) data.push(word);
    else flags = flag[1] ? flags | flag[0] : flags & ~flag[0];
  }
  const isBind = (flags & MS.BIND) !== 0 || type === "bind";
  if (/^(nfs4?|cifs|smb3?)$/.test(type)) {
    throw invalidArgument(
      `create ${name}: volumes of type ${type} are not supported yet: mount it on the host and bind a directory of it (type=none, o=bind, device=/path)`,
    );
  }
  if (type === "" && !isBind) throw invalidArgument(`create ${name}: missing required option: "type"`);
  if (device === "" && type !== "tmpfs") throw invalidArgument(`create ${name}: missing device in volume options`);
  if (isBind && !isAbsolute(device)) throw invalidArgument(`create ${name}: device must be an absolute path for a bind, not ${JSON.stringify(device)}`);
  return { type: isBind ? "none" : type, device: device || "tmpfs", flags: isBind ? flags | MS.BIND : flags, data: data.join(",") };
}
