import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { SeccompSpec } from "../oci/runtime-spec.ts";

/** Compiled filters, in memory and as files named by a hash of (profile, runtime version, kernel release). */
export interface SeccompCache {
  /** Base64 of the filter, if this profile was compiled before. */
  get(profile: SeccompSpec | undefined): string | undefined;
  /** Takes over what the runtime has just compiled. Never throws: without it the next start is slower, no more. */
  learn(profile: SeccompSpec | undefined, compiled: string): void;
}

/** struct sock_filter */
const INSTRUCTION = 8;
const MOST_FILTERS = 256;

export function createSeccompCache(options: { directory: string; salt: string; log: Logger }): SeccompCache {
  const { directory, salt, log } = options;
  const filters = new Map<string, string>();
  // profiles are shared objects: the default one is hashed once
  const keys = new WeakMap<SeccompSpec, string>();

  const keyOf = (profile: SeccompSpec): string => {
    let key = keys.get(profile);
    if (key === undefined) {
      key = createHash("sha256").update(salt).update("\0").update(JSON.stringify(profile)).digest("hex");
      keys.set(profile, key);
    }
    return key;
  };
  const fileOf = (key: string): string => `${directory}/seccomp-${key}.bpf`;
  const keep = (key: string, filter: Buffer): string => {
    if (filters.size >= MOST_FILTERS) filters.delete(filters.keys().next().value!);
    const text = filter.toString("base64");
    filters.set(key, text);
    return text;
  };

  return {
    get: (profile) => {
      if (profile === undefined || profile.listenerPath !== undefined) return undefined;
      const key = keyOf(profile);
      const known = filters.get(key);
      if (known !== undefined) return known;
      try {
        const filter = readFileSync(fileOf(key));
        return filter.length > 0 && filter.length % INSTRUCTION === 0 ? keep(key, filter) : undefined;
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOENT") log.warn("cannot read a compiled seccomp filter", { error });
        return undefined;
      }
    },
    learn: (profile, compiled) => {
      if (profile === undefined || profile.listenerPath !== undefined) return;
      try {
        const filter = readFileSync(compiled);
        if (filter.length === 0 || filter.length % INSTRUCTION !== 0) return;
        const key = keyOf(profile);
        keep(key, filter);
        mkdirSync(directory, { recursive: true });
        writeFileSync(`${fileOf(key)}.${process.pid}`, filter, { mode: 0o600 });
        renameSync(`${fileOf(key)}.${process.pid}`, fileOf(key));
      } catch (error) {
        log.debug("no compiled seccomp filter to keep", { error: messageOf(error) });
      }
    },
  };
}
