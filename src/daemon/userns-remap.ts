import { readFileSync } from "node:fs";
import { invalidArgument, unavailable } from "../lib/errors.ts";
import { type Logger, silent } from "../lib/log.ts";
import { readSubordinateIds, type SubordinateRange } from "../lib/subordinate-ids.ts";
import type { IdMap, IdRange } from "../oci/id-map.ts";

/** The system's accounts, as files: dockerd doesn't ask NSS for these either. */
export interface AccountFiles {
  passwd: string;
  group: string;
  subuid: string;
  subgid: string;
}

const systemFiles: AccountFiles = { passwd: "/etc/passwd", group: "/etc/group", subuid: "/etc/subuid", subgid: "/etc/subgid" };

/** The account behind `default`: Docker's, so that ranges given to it serve here too. */
const DEFAULT_ACCOUNT = "dockremap";
/** useradd(8)'s own defaults (SUB_UID_MIN, SUB_UID_COUNT of login.defs). */
const FIRST_SUBORDINATE = 100_000;
const SUBORDINATE_COUNT = 65_536;
/** Ids that a container can have, less the last, which overlay mounts need. */
const MOST_IDS = 0x7ffffffe;
/** Of /proc/<pid>/uid_map (user_namespaces(7)), less the one that overlay mounts need. */
const MOST_RANGES = 339;

interface Account {
  name: string;
  id: number;
}

/**
 * `--userns-remap`: `default`, or `user[:group]` by name or number; the ids are those that /etc/subuid and /etc/subgid give the user. Undefined for root, who
 * can't be mapped to himself: dockerd, too, then warns and goes on without. @throws EngineError in Docker's words
 */
export async function resolveRemap(text: string, log: Logger, files: AccountFiles = systemFiles): Promise<IdMap | undefined> {
  if (text === "") return undefined;
  if (text === "default" && !hasDefaultAccount(files)) await makeDefaultAccount(files, log);
  return mapOf(text, log, files);
}

/** For `--validate`: the same, but for the account behind `default`, which the start makes. @throws EngineError */
export function checkRemap(text: string, files: AccountFiles = systemFiles): void {
  if (text !== "" && (text !== "default" || hasDefaultAccount(files))) mapOf(text, silent, files);
}

const hasDefaultAccount = (files: AccountFiles): boolean => accountsIn(files.passwd).some(({ name }) => name === DEFAULT_ACCOUNT);

function mapOf(text: string, log: Logger, files: AccountFiles): IdMap | undefined {
  const { user, group } = parseRemap(text === "default" ? DEFAULT_ACCOUNT : text, files);
  if (user.name === "root") {
    log.warn("User namespaces: root cannot be remapped with itself; user namespaces are OFF");
    return undefined;
  }
  return { uids: rangesOf(files.subuid, "subuid", [user], user.name), gids: rangesOf(files.subgid, "subgid", [user, group], user.name) };
}

/** A user without a group means the group of the same name, or number. */
function parseRemap(text: string, files: AccountFiles): { user: Account; group: Account } {
  const parts = text.split(":");
  if (parts.length > 2) throw invalidArgument(`invalid user/group specification in --userns-remap: ${JSON.stringify(text)}`);
  const [userPart = "", groupPart = userPart] = parts;
  const users = accountsIn(files.passwd);
  const groups = accountsIn(files.group);
  const isId = (part: string): boolean => /^\d+$/.test(part);
  const user = users.find(({ name, id }) => (isId(userPart) ? id === Number(userPart) : name === userPart));
  if (user === undefined) {
    throw invalidArgument(
      isId(userPart)
        ? `uid ${userPart} has no entry in /etc/passwd: no matching entries in passwd file`
        : `error during uid lookup for ${JSON.stringify(userPart)}: no matching entries in passwd file`,
    );
  }
  const group = groups.find(({ name, id }) => (isId(groupPart) ? id === Number(groupPart) : name === groupPart));
  if (group === undefined) {
    const what = parts.length === 2 ? "groupname" : "gid";
    throw invalidArgument(
      isId(groupPart)
        ? `gid ${groupPart} has no entry in /etc/group: no matching entries in group file`
        : `error during ${what} lookup for ${JSON.stringify(groupPart)}: no matching entries in group file`,
    );
  }
  return { user, group };
}

function accountsIn(path: string): Account[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [name = "", , id = ""] = line.split(":");
      return name !== "" && /^\d+$/.test(id) ? [{ name, id: Number(id) }] : [];
    });
}

/** The first owner that has any; a file may name it or give its number. The container's ids count through the ranges in the file's order. */
function rangesOf(path: string, what: "subuid" | "subgid", owners: readonly Account[], user: string): IdRange[] {
  const lines = readSubordinateIds(path).filter(({ size }) => size > 0);
  const own = owners.map(({ name, id }) => lines.filter(({ owner }) => owner === name || owner === String(id))).find((found) => found.length > 0);
  if (own === undefined) throw invalidArgument(`can't create ID mappings: no ${what} ranges found for user ${JSON.stringify(user)} in ${path}`);
  if (own.length > MOST_RANGES) throw invalidArgument(`${path} gives ${user} more ranges than a user namespace can have (${MOST_RANGES})`);
  let next = 0;
  return own.flatMap(({ start, size }) => {
    if (start === 0) throw invalidArgument(`${path} gives ${user} the host's root: its containers would be none the safer`);
    const range = { container: next, host: start, size: Math.min(size, MOST_IDS - next) };
    next += range.size;
    return range.size > 0 ? [range] : [];
  });
}

/** As dockerd: a system account, and a range for it behind all others. */
async function makeDefaultAccount(files: AccountFiles, log: Logger): Promise<void> {
  await run(["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", DEFAULT_ACCOUNT]);
  const range = (ranges: readonly SubordinateRange[]): string => {
    const start = Math.max(FIRST_SUBORDINATE, ...ranges.map(({ start: other, size }) => other + size));
    return `${start}-${start + SUBORDINATE_COUNT - 1}`;
  };
  const has = (path: string): boolean => readSubordinateIds(path).some(({ owner }) => owner === DEFAULT_ACCOUNT);
  if (!has(files.subuid)) await run(["usermod", "--add-subuids", range(readSubordinateIds(files.subuid)), DEFAULT_ACCOUNT]);
  if (!has(files.subgid)) await run(["usermod", "--add-subgids", range(readSubordinateIds(files.subgid)), DEFAULT_ACCOUNT]);
  log.info("made the account of --userns-remap=default", { user: DEFAULT_ACCOUNT });
}

async function run(command: string[]): Promise<void> {
  const failed = (why: string, cause?: unknown): Error =>
    unavailable(`error during ${JSON.stringify(DEFAULT_ACCOUNT)} user creation: ${command[0]}: ${why}`, cause);
  let child;
  try {
    child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe", env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } });
  } catch (error) {
    throw failed("no such program", error);
  }
  const [errors, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw failed(errors.trim());
}
