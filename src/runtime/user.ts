import { invalidArgument } from "../lib/errors.ts";
import type { UserSpec } from "../oci/runtime-spec.ts";
import { readInside } from "./inside.ts";

/** A hostile image may make these files as long as it likes. */
const LONGEST = 4 << 20;
const HIGHEST_ID = 0x7fffffff;

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

/**
 * `user[:group]`, names or numbers, against the container's own /etc/passwd and /etc/group, read without leaving `root`.
 * Empty means root. @throws EngineError invalidArgument in Docker's words
 */
export function resolveUser(root: string, user: string, groupAdd: readonly string[] = []): UserSpec {
  return resolveAccount(root, user, groupAdd).user;
}

/** As `resolveUser`, with the home directory: `/` for who has none. */
export function resolveAccount(root: string, user: string, groupAdd: readonly string[] = []): { user: UserSpec; home: string } {
  return findAccount(user, groupAdd, readEntries(root, "/etc/passwd"), readEntries(root, "/etc/group"));
}

/** The pure part of `resolveAccount`: the two files as lines. */
export function findAccount(
  user: string,
  groupAdd: readonly string[],
  passwdLines: readonly string[],
  groupLines: readonly string[],
): { user: UserSpec; home: string } {
  const passwd = passwdLines.flatMap(passwdEntry);
  const groups = groupLines.flatMap(groupEntry);
  const [userPart = "", groupPart = ""] = user.split(":", 2);

  const number = idOf(userPart);
  const found = passwd.find((each) => (userPart === "" ? each.uid === 0 : each.name === userPart)) ?? passwd.find((each) => each.uid === number);
  if (found === undefined && userPart !== "" && number === undefined)
    throw invalidArgument(`unable to find user ${userPart}: no matching entries in passwd file`);
  const uid = found?.uid ?? number ?? 0;
  if (uid > HIGHEST_ID) throw invalidArgument(`uids and gids must be in range 0-${HIGHEST_ID}`);

  // a group given by hand replaces the user's own groups
  const supplementary = groupPart === "" && found !== undefined ? groups.filter((each) => each.members.includes(found.name)).map((each) => each.gid) : [];
  const gid = groupPart === "" ? (found?.gid ?? 0) : groupId(groupPart, groups);
  const added = groupAdd.map((each) => groupId(each, groups, "Unable"));
  return { user: { uid, gid, additionalGids: [...new Set([gid, ...supplementary, ...added])] }, home: found?.home || "/" };
}

/** Docker writes its sentence about --group-add with a capital, the one about `user:group` without. */
function groupId(group: string, groups: readonly GroupEntry[], unable: "Unable" | "unable" = "unable"): number {
  const gid = groups.find((each) => each.name === group)?.gid ?? idOf(group);
  if (gid === undefined) throw invalidArgument(`${unable} to find group ${group}: no matching entries in group file`);
  if (gid > HIGHEST_ID) throw invalidArgument(`uids and gids must be in range 0-${HIGHEST_ID}`);
  return gid;
}

function idOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

function passwdEntry(line: string): PasswdEntry[] {
  const [name, , uid, gid, , home = ""] = line.split(":");
  const [uidNumber, gidNumber] = [idOf(uid), idOf(gid)];
  return name === undefined || uidNumber === undefined || gidNumber === undefined ? [] : [{ name, uid: uidNumber, gid: gidNumber, home }];
}

function groupEntry(line: string): GroupEntry[] {
  const [name, , gid, members = ""] = line.split(":");
  const gidNumber = idOf(gid);
  return name === undefined || gidNumber === undefined ? [] : [{ name, gid: gidNumber, members: members.split(",").filter(Boolean) }];
}

function readEntries(root: string, path: string): string[] {
  const text = readInside(root, path, LONGEST) ?? "";
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}
