import { isAbsolute } from "node:path";
import { MS } from "../kernel/mount.ts";
import { parseBytes } from "../lib/bytes.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { VolumeRecord } from "./types.ts";

/** What mount(2) is told for a volume with options, names of servers excepted: those are looked up when it is mounted. */
export interface LocalMount {
  type: string;
  device: string;
  flags: number;
  data: string;
}

/** Words of mount(8) that are flags of mount(2), with the value that they set or clear. Those of propagation come in a call of their own. */
const flagWords: Readonly<Record<string, readonly [flag: number, set: boolean]>> = {
  defaults: [0, true],
  ro: [MS.RDONLY, true],
  rw: [MS.RDONLY, false],
  nosuid: [MS.NOSUID, true],
  suid: [MS.NOSUID, false],
  nodev: [MS.NODEV, true],
  dev: [MS.NODEV, false],
  noexec: [MS.NOEXEC, true],
  exec: [MS.NOEXEC, false],
  sync: [MS.SYNCHRONOUS, true],
  async: [MS.SYNCHRONOUS, false],
  dirsync: [MS.DIRSYNC, true],
  noatime: [MS.NOATIME, true],
  atime: [MS.NOATIME, false],
  nodiratime: [MS.NODIRATIME, true],
  diratime: [MS.NODIRATIME, false],
  relatime: [MS.RELATIME, true],
  norelatime: [MS.RELATIME, false],
  strictatime: [MS.STRICTATIME, true],
  nostrictatime: [MS.STRICTATIME, false],
  bind: [MS.BIND, true],
  rbind: [MS.BIND | MS.REC, true],
  private: [MS.PRIVATE, true],
  rprivate: [MS.PRIVATE | MS.REC, true],
  slave: [MS.SLAVE, true],
  rslave: [MS.SLAVE | MS.REC, true],
  shared: [MS.SHARED, true],
  rshared: [MS.SHARED | MS.REC, true],
};

/** Of /etc/fstab, for whoever reads that: no file system knows them. */
const isForFstab = (word: string): boolean => /^(_netdev|nofail|(no)?auto|(no)?users?|comment=.*|x-.*|X-.*)$/.test(word);

const known = ["type", "o", "device", "size"];
const networkTypes = new Set(["nfs", "nfs4", "cifs", "smb3"]);

/** Its files lie on a server, which may not answer. */
export const isNetworkType = (type: string): boolean => networkTypes.has(type);

/** Whether a volume with these options is something that is mounted, not the directory that is made for it. */
export function isMounted({ type, device }: Record<string, string>): boolean {
  return Boolean(type) || Boolean(device);
}

/** A directory of the engine's own. */
export const isPlain = ({ driver, options }: Pick<VolumeRecord, "driver" | "options">): boolean => driver === "local" && !isMounted(options);

/** The most bytes it may have; undefined: any number. */
export function sizeLimit({ size }: Record<string, string>): number | undefined {
  return (size === undefined ? 0 : parseBytes(size)) || undefined;
}

/** What Docker refuses at the volume's creation, in its words, and what could do harm. @throws EngineError invalidArgument */
export function checkLocalOptions(name: string, options: Record<string, string>): void {
  const refuse = (why: string): Error => invalidArgument(`create ${name}: ${why}`);
  for (const key of Object.keys(options)) if (!known.includes(key)) throw refuse(`invalid option: ${JSON.stringify(key)}`);
  for (const [key, value] of Object.entries(options)) if (value.includes("\0")) throw refuse(`option ${key} holds a NUL byte`);
  const { type, device, o, size } = options;
  if (type === "cifs" && /^(?:\w+:)?\/\/[^/]*:\d+(\/|$)/.test(device ?? "")) throw refuse("port not allowed in CIFS device URL, include 'port' in 'o='");
  if (size !== undefined && parseBytes(size) === undefined) throw refuse(`invalid size: '${size}'`);
  if (device === undefined && (type ?? o) !== undefined) throw refuse('missing required option: "device"');
  if (type === undefined && (device ?? o) !== undefined) throw refuse('missing required option: "type"');
  if (!isMounted(options)) return;
  if (sizeLimit(options) !== undefined) throw refuse("size limits the volume's own directory: it doesn't go with type, device and o");
  const words = wordsOf(o);
  if (words.includes("remount")) throw refuse("o=remount would change a mount that is there: it can't be a volume");
  if (words.includes("move") || words.includes("unbindable") || words.includes("runbindable")) throw refuse("a volume can't be moved or unbindable");
  checkPaths(options, words, refuse);
}

/** The engine runs in a directory of its own: relative paths would be found there. */
function checkPaths({ type, device = "" }: Record<string, string>, words: readonly string[], refuse: (why: string) => Error): void {
  if ((isBind(type, words) || /^(ext[234]|xfs|btrfs)$/.test(type ?? "")) && device !== "" && !isAbsolute(device))
    throw refuse(`device must be an absolute path, not ${JSON.stringify(device)}`);
  if (type !== "overlay") return;
  for (const word of words) {
    const [, key, paths = ""] = /^(lowerdir\+?|datadir\+?|upperdir|workdir)=(.*)$/.exec(word) ?? [];
    if (key === undefined) continue;
    const bad = paths.split(/(?<!\\):/).find((path) => path !== "" && !isAbsolute(path));
    if (bad !== undefined) throw refuse(`${key} must be absolute, not ${JSON.stringify(bad)}`);
  }
}

const isBind = (type: string | undefined, words: readonly string[]): boolean => type === "bind" || words.includes("bind") || words.includes("rbind");
const wordsOf = (o: string | undefined): string[] => optionWords(o ?? "").filter((word) => !isForFstab(word));

/** Words of mount(8)'s options. A comma within one is written twice (the kernel's fs/smb/client/fs_context.c). */
export function optionWords(text: string): string[] {
  return text.split(/(?<!,),(?!,)/).filter((word) => word !== "");
}

/** What to mount for `type`, `device` and `o`; undefined without any. @throws EngineError invalidArgument */
export function localMount(options: Record<string, string>): LocalMount | undefined {
  if (!isMounted(options)) return undefined;
  const { type = "", o } = options;
  // volumes that were made before the device had to be told
  const device = options.device || (type === "tmpfs" ? "tmpfs" : "");
  if (device === "") throw invalidArgument("missing device in volume options");
  const words = wordsOf(o);
  let flags = 0;
  const data: string[] = [];
  for (const word of words) {
    const flag = flagWords[word];
    if (flag === undefined) data.push(word);
    else flags = flag[1] ? flags | flag[0] : flags & ~flag[0];
  }
  const bind = isBind(type, words);
  return { type: bind ? "none" : type, device, flags: bind ? flags | MS.BIND : flags, data: data.join(",") };
}

const secretWords = /((?:^|,)(?:password2?|passwd|pass)=)(?:,,|[^,])*/gi;

/** Options of mount(8) as anybody may see them. */
export function withoutSecrets(words: string): string {
  return words.replace(secretWords, "$1********");
}

/** A volume's options as anybody may see them. */
export function shownOptions(options: Record<string, string>): Record<string, string> {
  return options.o === undefined ? options : { ...options, o: withoutSecrets(options.o) };
}
