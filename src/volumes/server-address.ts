import { readFile } from "node:fs/promises";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { isNetworkType, optionWords, type LocalMount } from "./options.ts";

/**
 * The kernel's network file systems know addresses only, and no files with credentials: what mount.nfs and mount.cifs do for them is done here. Docker looks
 * up `addr=` and the host of a cifs device (moby, daemon/volume/local/local_unix.go). @throws EngineError invalidArgument
 */
export async function withServer(mount: LocalMount): Promise<LocalMount> {
  if (!isNetworkType(mount.type)) return mount;
  const words = optionWords(mount.data);
  const isNfs = mount.type.startsWith("nfs");
  const at = words.findIndex((word) => /^(addr|ip)=./.test(word));
  if (at >= 0) {
    const [key = "", host = ""] = words[at]!.split(/=(.*)/s);
    words[at] = `${key}=${await addressOf(host)}`;
  } else {
    const host = (isNfs ? /^(?:\[([^\]]+)\]|([^:/[\]]+)):\// : /^(?:\w+:)?\/\/(?:\[([^\]]+)\]|([^/[\]]+))/).exec(mount.device);
    const name = host?.[1] ?? host?.[2];
    if (name !== undefined) words.push(`${isNfs ? "addr" : "ip"}=${await addressOf(name)}`);
  }
  return { ...mount, data: (isNfs ? words : await withCredentials(words)).join(",") };
}

async function addressOf(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    const found = await lookup(host, { all: true });
    // as Go's net.ResolveIPAddr has it
    const { address } = found.find(({ family }) => family === 4) ?? found[0]!;
    return address;
  } catch (error) {
    throw invalidArgument(`error resolving passed in network volume address: lookup ${host}: ${messageOf(error)}`, error);
  }
}

const longestFile = 64 << 10;
const keys: Readonly<Record<string, string>> = {
  username: "username",
  user: "username",
  password: "password",
  pass: "password",
  domain: "domain",
  dom: "domain",
};

/** `credentials=FILE` as mount.cifs reads it: `username=`, `password=` and `domain=`, a line each. So a password needn't be among a volume's options. */
async function withCredentials(words: readonly string[]): Promise<string[]> {
  const result: string[] = [];
  for (const word of words) {
    const path = /^cred(?:entials)?=(.+)$/.exec(word)?.[1];
    if (path === undefined) {
      result.push(word);
      continue;
    }
    for (const line of (await credentialsIn(path)).split("\n")) {
      const [, key = "", value = ""] = /^\s*(\w+)\s*=(.*?)\r?$/.exec(line) ?? [];
      // a comma within a value is written twice
      if (keys[key] !== undefined && value !== "") result.push(`${keys[key]}=${value.replaceAll(",", ",,")}`);
    }
  }
  return result;
}

async function credentialsIn(path: string): Promise<string> {
  if (!path.startsWith("/")) throw invalidArgument(`credentials=${path}: the path must be absolute`);
  try {
    return (await readFile(path, "utf8")).slice(0, longestFile);
  } catch (error) {
    throw invalidArgument(`reading the credentials of a volume: ${messageOf(error)}`, error);
  }
}
