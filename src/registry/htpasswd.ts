import { timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import { Fault } from "./faults.ts";

/** Names and passwords, as `htpasswd -B` writes them. */
export interface Passwords {
  /** Whether they belong together. Takes as long for a name that isn't there. @throws Fault 429 where too many wait for an answer */
  verify(user: string, password: string): Promise<boolean>;
}

const bcrypt = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
/** bcrypt reads no further (its own limit, as Apache's htpasswd has it); Bun would hash a longer one first. */
const maxPassword = 72;
/** Answers remembered, so that a password is not hashed at each request. */
const maxRemembered = 1000;
/** One hash takes a thread 50 ms and more: beyond this many, clients are told to come later. */
const maxWaiting = 100;

/**
 * Opens the file at `path`. It is read again when it has changed; where it then can't be read, what was read before stays in force.
 * @throws EngineError invalidArgument where it can't be read, or an entry is no bcrypt hash
 */
export async function openPasswords(path: string, log: Logger): Promise<Passwords> {
  const key = crypto.getRandomValues(new Uint8Array(32));
  let stamp = await stampOf(path).catch((error: unknown) => {
    throw invalidArgument(`can't read the passwords: ${messageOf(error)}`, error);
  });
  let hashes = await readHashes(path);
  let unknown = absent(hashes);
  /** MACs of what was right, by user: the password itself is not kept. */
  let remembered = new Map<string, Buffer>();
  const turns = new KeyedMutex();
  let waiting = 0;

  const refresh = async (): Promise<void> => {
    const now = await stampOf(path).catch(() => stamp);
    if (now === stamp) return;
    stamp = now;
    try {
      hashes = await readHashes(path);
      unknown = absent(hashes);
      remembered = new Map();
      log.info("passwords were read again", { path, users: hashes.size });
    } catch (error) {
      log.error("the changed passwords can't be used; the old ones stay", { path, error });
    }
  };

  /** One at a time: each keeps a thread of the pool busy, which files need too. */
  const compare = async (password: string, hash: string): Promise<boolean> => {
    if (waiting >= maxWaiting) throw new Fault("TOOMANYREQUESTS", "too many logins are being checked; try again", { headers: { "retry-after": "1" } });
    waiting++;
    try {
      return await turns.run("", () => Bun.password.verify(Buffer.from(password, "utf8").subarray(0, maxPassword), hash, "bcrypt"));
    } finally {
      waiting--;
    }
  };

  return {
    verify: async (user, password) => {
      await refresh();
      const hash = hashes.get(user);
      const mac = new Bun.CryptoHasher("sha256", key).update(JSON.stringify([user, password, hash])).digest();
      const known = remembered.get(user);
      if (hash !== undefined && known !== undefined && timingSafeEqual(known, mac)) return true;
      // Bun answers an empty password without any work.
      const right = await compare(password === "" ? "\0" : password, hash ?? unknown);
      if (hash === undefined || password === "" || !right) return false;
      if (remembered.size >= maxRemembered) remembered.delete(remembered.keys().next().value!);
      remembered.set(user, mac);
      return true;
    },
  };
}

async function stampOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}

async function readHashes(path: string): Promise<Map<string, string>> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw invalidArgument(`can't read the passwords: ${messageOf(error)}`, error);
  });
  const hashes = new Map<string, string>();
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const hash = line.slice(colon + 1).trim();
    if (colon < 1 || !bcrypt.test(hash)) throw invalidArgument(`${path}, line ${at + 1}: want NAME:HASH with a hash made by bcrypt (htpasswd -B)`);
    hashes.set(line.slice(0, colon), hash);
  }
  return hashes;
}

/** What a password of nobody is compared with: as much work as the dearest entry. */
function absent(hashes: ReadonlyMap<string, string>): string {
  const cost = Math.max(10, ...[...hashes.values()].map((hash) => Number(bcrypt.exec(hash)![1])));
  return `$2b$${cost}$${".".repeat(53)}`;
}
